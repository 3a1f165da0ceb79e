"""Discriminators of a few channels: iw3's would dominate the time and the checkpoints of a tiny training."""

from model.discriminators import DISCRIMINATORS, Ensemble, TemporalPatch


def use_small_discriminators() -> None:
    """Replace `--discriminator ffce` with a small one."""
    DISCRIMINATORS["ffce"] = small_ensemble


def small_ensemble() -> Ensemble:
    return Ensemble("ffc", [TemporalPatch((2, 4, 4, 4, 4)) for _ in range(3)], (1.0, 0.5, 0.25))
