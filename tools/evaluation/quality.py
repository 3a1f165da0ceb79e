"""How near filled frames are to the truth, over the frame and inside the holes, in space and in time.

T frames, H height, W width. Output and truth are float (T 3 H W) in [0, 1], holes bool (T 1 H W). Measures of holes
are nan where there is none. Averages are taken over pixels and colours before a logarithm.
"""

from dataclasses import dataclass

import torch

from pack.depth.flow import warp
from tools.evaluation.motion import optical_flow, trusted
from train.evaluation.fills import hole_ends
from train.evaluation.metrics import RADIUS, mean_where, psnr, ssim_map, temporal_difference

IW3_EPSILON = 1e-6


@dataclass(frozen=True)
class Truth:
    """A clip as it was, with its holes and its motion."""

    frames: torch.Tensor  # (T 3 H W)
    holes: torch.Tensor  # bool (T 1 H W)
    flow: torch.Tensor  # (T-1 2 H W) to the next frame
    seen: torch.Tensor  # bool (T-1 1 H W), where the flow is trusted both ways

    @classmethod
    def of(cls, frames: torch.Tensor, holes: torch.Tensor) -> "Truth":
        forward = optical_flow(frames[:-1], frames[1:])
        return cls(frames, holes, forward, trusted(forward, optical_flow(frames[1:], frames[:-1])))

    @property
    def speed(self) -> float:
        """Mean length of the motion, in pixels a frame."""
        return float(self.flow.square().sum(1).sqrt().mean())


def measure(output: torch.Tensor, truth: Truth, lpips=None, parts: dict[str, torch.Tensor] | None = None):
    """All measures of a clip by name; names that begin with "hole_" count pixels inside holes alone.

    lpips is what `load_lpips` returns; without it there is no LPIPS. `parts` are masks (T 1 H W) of parts of the holes
    that are measured by themselves, as "hole_psnr of NAME".
    """
    output = output.clamp(0, 1)
    planes = maps(output, truth.frames)
    found = in_space(*planes, truth.holes)
    found |= {
        "hole_tde": temporal_difference(output, truth.frames, truth.holes),
        "hole_ewarp": warping_error(output, truth),
        "hole_tof": flow_difference(output, truth),
    }
    for part, where in (parts or {}).items():
        inside = in_holes(*planes, where) | {"hole_tde": temporal_difference(output, truth.frames, where)}
        found |= {f"{name} of {part}": value for name, value in inside.items()}
    if lpips is not None:
        found |= lpips(output, truth.frames, truth.holes)
    return {name: float(value) for name, value in found.items()}


def maps(output, truth):  # (T 3 H W) x 2 -> squared error, absolute error, SSIM: each float64 (T 1 H W)
    """What differs at each pixel, averaged over its colours."""
    error = (output - truth).double()
    return tuple(m.mean(1, keepdim=True) for m in (error.square(), error.abs(), ssim_map(output, truth)))


def in_space(squared, absolute, ssim, where) -> dict[str, float]:  # (T 1 H W) each, bool (T 1 H W)
    """PSNR, SSIM and mean absolute error over the frame and where asked.

    SSIM of the frame leaves out the 5 pixels at its border, as is usual; that of holes does not.
    """
    inner = ssim[..., RADIUS:-RADIUS, RADIUS:-RADIUS]
    return {
        "psnr": float(psnr(squared.mean())),
        "ssim": float(inner.mean()),
        "mae": float(absolute.mean()),
        **in_holes(squared, absolute, ssim, where),
    }


def in_holes(squared, absolute, ssim, where) -> dict[str, float]:
    """The same three inside a part of the frame."""
    return {
        "hole_psnr": float(psnr(mean_where(squared, where))),
        "hole_ssim": mean_where(ssim, where).item(),
        "hole_mae": mean_where(absolute, where).item(),
    }


def warping_error(output, truth: Truth):  # -> ()
    """Mean |o[t] - o[t+1] moved back along the truth's flow|^2 over hidden pixels whose flow is trusted.

    E_warp of Lai et al. ("Learning Blind Video Temporal Consistency", ECCV 2018, equation 8). The truth's own is not 0.
    """
    back = warp(output[1:], truth.flow)
    return mean_where((output[:-1] - back).square(), truth.holes[:-1] & truth.seen)


def flow_difference(output, truth: Truth):  # -> ()
    """Mean |flow of the output - flow of the truth|, summed over x and y, over hidden pixels whose flow is trusted.

    tOF of Chu et al. ("Learning Temporal Coherence via Self-Supervision", ACM TOG 2020, section 5), in pixels.
    """
    gap = optical_flow(output[:-1], output[1:]) - truth.flow
    return mean_where(gap.abs().sum(1, keepdim=True), truth.holes[:-1] & truth.seen)


def iw3_psnr(output, truth, holes) -> dict[str, float]:
    """PSNR sums over frames with a hole, and their number, as iw3's benchmark prints their quotient.

    10 log10(1 / (MSE + 1e-6)) by frame. In holes iw3 divides the squared error of three colours by the number of
    pixels, so its numbers are 4.77 dB lower than `hole_psnr`.
    """
    kept = holes.flatten(1).any(1)
    squared = (output.clamp(0, 1) - truth).square()[kept].double()
    where = holes[kept]
    whole = squared.flatten(1).mean(1)
    inside = (squared * where).flatten(1).sum(1) / where.flatten(1).sum(1)
    sums = [float((-10 * torch.log10(mse + IW3_EPSILON)).sum()) for mse in (whole, inside)]
    return {"frames": int(kept.sum()), "psnr": sums[0], "hole_psnr": sums[1]}


def hole_widths(holes: torch.Tensor) -> torch.Tensor:  # bool (T 1 H W) -> long (T 1 H W)
    """For each hidden pixel the length of the hidden run of its row, elsewhere 0."""
    right, left = hole_ends(holes)
    return (right - left - 1).masked_fill(~holes, 0)
