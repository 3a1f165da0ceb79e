"""Discriminators of a few channels: the weights of iw3's would be most of a tiny training's time and checkpoints."""

from model.discriminators import DISCRIMINATORS, Ensemble, TemporalPatch


def make_small() -> None:
    """Let `--discriminator ffce` be a small one."""
    DISCRIMINATORS["ffce"] = small_ensemble


def small_ensemble() -> Ensemble:
    return Ensemble("ffc", [TemporalPatch((2, 4, 4, 4, 4)) for _ in range(3)], (1.0, 0.5, 0.25))
