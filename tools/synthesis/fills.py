"""What fills the holes of a film: a network or a simple fill, checked before anything is written.

H height, W width of the view.
"""

from pathlib import Path
from typing import Literal

import torch

from model.checkpoint import load_network
from tools.cli import UserError
from tools.evaluation.baselines import BASELINES, OPENCV, Fill
from tools.evaluation.motion import HAS_CV2


def choose_fills(
    checkpoint: str, weights: Literal["averaged", "raw"], baseline: str, compare: bool, device: torch.device
) -> dict[str, Fill]:
    """The fills by name: the network, without a checkpoint the simple fill, to compare both and empty holes.

    Raises UserError where the simple fill is unknown or needs OpenCV, or where the network cannot be used.
    """
    simple = baseline or ("navier-stokes" if HAS_CV2 else "replicate")
    if simple not in BASELINES:
        raise UserError(f"--baseline {simple}: expected one of {', '.join(BASELINES)}")
    if simple in OPENCV and not HAS_CV2:
        raise UserError(f"--baseline {simple} needs OpenCV: make setup EXTRAS=baselines")
    fills = {simple: BASELINES[simple]}
    if checkpoint:
        fill = checked(load_network(checkpoint, device, weights).infer, checkpoint)
        fill(*example(device))  # before anything is written
        network = {Path(checkpoint).stem: fill}
        fills = fills | network if compare else network
    return {"empty holes": BASELINES["empty"]} | fills if compare else fills


def checked(fill: Fill, checkpoint: str) -> Fill:
    """The fill, which raises UserError where its output is not finite: such a film would be black or noise."""

    def filled(frames, holes):
        output = fill(frames, holes)
        if not output.isfinite().all():
            raise UserError(f"{checkpoint}: the output of this network is not finite: use an earlier checkpoint")
        return output

    return filled


def example(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:  # -> float (12 3 H W), bool (12 1 H W)
    """Frames of random colours with a hole in each."""
    frames = torch.rand(12, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    holes = torch.zeros(12, 1, 64, 64, dtype=torch.bool)
    holes[..., 16:48, 24:32] = True
    return frames.masked_fill(holes, 0).to(device), holes.to(device)
