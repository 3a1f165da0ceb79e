"""How close filled frames are to the ground truth, over the frame and inside the holes, in space and in time.

T frames, H height, W width. Output and truth are float (T 3 H W) in [0, 1], holes bool (T 1 H W). Measures inside holes
are nan where there is no hole. The mean over pixels and channels is taken before a logarithm.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pack.depth.flow import flow_targets, sample_at, warp
from pack.kernels.filters import uses_rows
from tools.evaluation.motion import flow_to_next, trusted
from tools.evaluation.perception import Lpips
from train.evaluation.fills import hole_ends
from train.evaluation.metrics import (
    C1,
    C2,
    RADIUS,
    Moments,
    change_error,
    in_either_frame,
    moments,
    psnr,
    ssim_map,
    window_weights,
)  # fmt: skip

IW3_EPSILON = 1e-6


@dataclass(frozen=True)
class Region:
    """Some pixels of a clip. Numbers of pixels are faster than masks where many maps are averaged over them."""

    pixels: Tensor  # long (N), numbers in the flattened (T 1 H W)
    changes: Tensor  # long (M), numbers in the flattened (T-1 1 H W), of those in it in a frame or in the next one

    @classmethod
    def of(cls, where: Tensor) -> "Region":  # bool (T 1 H W)
        """The pixels where the mask is set."""
        return cls(*(mask.flatten().nonzero()[:, 0] for mask in (where, in_either_frame(where))))


@dataclass(frozen=True)
class Path:
    """Hole pixels of a frame of which it is known where the true picture shows them in the next frame."""

    pixels: Tensor  # long (P), numbers in the flattened (H W)
    flow: Tensor  # (2 P) to the next frame
    targets: Tensor  # (P 2), see pack.depth.flow.flow_targets


@dataclass(frozen=True)
class Truth:
    """The ground truth of a clip, its holes and its motion: what all methods are compared with."""

    frames: Tensor  # (T 3 H W)
    holes: Tensor  # bool (T 1 H W)
    flow: Tensor  # (T-1 2 H W) to the next frame
    paths: tuple[Path, ...]  # of each frame but the last
    moments: Moments  # of SSIM's window
    region: Region  # of the holes

    @classmethod
    def of(cls, frames: Tensor, holes: Tensor) -> "Truth":
        """The truth with the optical flow of its frames."""
        flow = flow_to_next(frames)
        back = flow_to_next(frames.flip(0)).flip(0)
        return cls.moving(frames, holes, flow, trusted(flow, back))

    @classmethod
    def moving(cls, frames: Tensor, holes: Tensor, flow: Tensor, seen: Tensor) -> "Truth":
        """The truth with this flow, which is right where `seen`, bool (T-1 1 H W), is set."""
        targets = flow_targets(flow).flatten(1, 2)
        pixels = [where.flatten().nonzero()[:, 0] for where in holes[:-1] & seen]
        parts = zip(pixels, flow.flatten(2), targets, strict=True)
        paths = (Path(found, vectors[:, found], ends[found]) for found, vectors, ends in parts)
        return cls(frames, holes, flow, tuple(paths), moments(frames), Region.of(holes))

    @property
    def speed(self) -> float:
        """Mean length of the flow, in pixels per frame."""
        return float(self.flow.square().sum(1).sqrt().mean())


def measure(
    output: Tensor, truth: Truth, lpips: Lpips | None = None, classes: Mapping[str, Region] | None = None
) -> dict[str, float]:
    """All measures of a clip by name; those whose names begin with "hole_" use only pixels inside holes.

    Without `lpips` there is no LPIPS. `classes` are parts of the holes by name that are also measured separately, as
    "hole_psnr of NAME". Names with "iw3_" are of `iw3_psnr`.
    """
    output = output.clamp(0, 1)
    planes = maps(output, truth.frames, truth.moments)
    change = change_error(output, truth.frames).mean(1)  # (T-1 H W)
    found = in_space(*planes, truth.region)
    found |= {
        "hole_tde": mean_of(change, truth.region.changes),
        "hole_ewarp": float(warping_error(output, truth)),
        "hole_tof": float(flow_difference(output, truth)),
    }
    for name, part in (classes or {}).items():
        inside = in_holes(*planes, part) | {"hole_tde": mean_of(change, part.changes)}
        found |= {f"{measure} of {name}": value for measure, value in inside.items()}
    if lpips is not None:
        found |= lpips(output, truth.frames, truth.holes)
    return found | {f"iw3_{name}": value for name, value in iw3_psnr(planes[0], truth.holes).items()}


def maps(
    output: Tensor, truth: Tensor, of_truth: Moments | None = None
) -> tuple[Tensor, Tensor, Tensor]:  # (T 3 H W) x 2 -> (T 1 H W) x 3
    """Squared error, absolute error and SSIM of each pixel, averaged over its colours."""
    of_truth = of_truth or moments(truth)
    if uses_rows(output):
        return _maps_by_rows(output, truth, of_truth)
    error = output - truth
    found = error.square(), error.abs(), ssim_map(output, truth, of_truth)
    squared, absolute, ssim = (plane.mean(1, keepdim=True, dtype=torch.float64) for plane in found)
    return squared, absolute, ssim


def _maps_by_rows(output, truth, of_truth):
    from tools.evaluation.map_rows import map_rows  # numba takes a second to import

    frames = [part.contiguous().numpy() for part in (output, truth, *of_truth)]
    planes = np.empty((3, len(output), *output.shape[-2:]), np.float32)
    map_rows(*frames, window_weights().float().numpy(), np.float32(C1), np.float32(C2), *planes)
    squared, absolute, ssim = torch.from_numpy(planes)[:, :, None]
    return squared, absolute, ssim


def in_space(squared: Tensor, absolute: Tensor, ssim: Tensor, region: Region) -> dict[str, float]:  # (T 1 H W) x 3
    """PSNR, SSIM and mean absolute error over the frame and in the region.

    SSIM over the frame leaves out the 5 pixels at the border, as is usual; SSIM in holes does not.
    """
    inner = ssim[..., RADIUS:-RADIUS, RADIUS:-RADIUS]
    return {
        "psnr": float(psnr(squared.mean(dtype=torch.float64))),
        "ssim": float(inner.mean(dtype=torch.float64)),
        "mae": float(absolute.mean(dtype=torch.float64)),
        **in_holes(squared, absolute, ssim, region),
    }


def in_holes(squared: Tensor, absolute: Tensor, ssim: Tensor, region: Region) -> dict[str, float]:  # (T 1 H W) x 3
    """PSNR, SSIM and mean absolute error in the region."""
    mse, similarity, error = (mean_of(plane, region.pixels) for plane in (squared, ssim, absolute))
    decibels = float(psnr(torch.tensor(mse, dtype=torch.float64)))
    return {"hole_psnr": decibels, "hole_ssim": similarity, "hole_mae": error}


def mean_of(values: Tensor, numbers: Tensor) -> float:
    """The mean of the values with these numbers; nan without any."""
    return float(values.flatten()[numbers].mean(dtype=torch.float64))


def warping_error(output: Tensor, truth: Truth) -> Tensor:  # (T 3 H W) -> ()
    """Mean |o[t] - o[t+1] warped back along the truth's flow|^2 over hole pixels whose flow is trusted.

    E_warp of Lai et al. ("Learning Blind Video Temporal Consistency", ECCV 2018, equation 8). Of the ground truth
    itself it is not 0.
    """
    steps = zip(output, _ends(output, truth), truth.paths, strict=False)
    errors = [frame.flatten(1)[:, path.pixels] - end for frame, end, path in steps]
    return torch.cat(errors, 1).square().double().mean()


def _ends(output, truth):  # (T 3 H W) -> (3 P) of each frame but the last: what the next frame shows at its paths
    if output.is_cuda:  # sampling all pixels is as fast there
        back = warp(output[1:], truth.flow)
        return [frame.flatten(1)[:, path.pixels] for frame, path in zip(back, truth.paths, strict=True)]
    return [sample_at(frame, path.targets) for frame, path in zip(output[1:], truth.paths, strict=True)]


def flow_difference(output: Tensor, truth: Truth) -> Tensor:  # (T 3 H W) -> ()
    """Mean |flow of the output - flow of the truth|, summed over x and y, over hole pixels whose flow is trusted.

    tOF of Chu et al. ("Learning Temporal Coherence via Self-Supervision", ACM TOG 2020, section 5), in pixels.
    """
    flows = flow_to_next(output).flatten(2)
    gaps = [flow[:, path.pixels] - path.flow for flow, path in zip(flows, truth.paths, strict=True)]
    return torch.cat(gaps, 1).abs().sum(0).double().mean()


def iw3_psnr(squared: Tensor, holes: Tensor) -> dict[str, float]:  # of `maps` (T 1 H W), bool (T 1 H W)
    """Sums of PSNR over frames with a hole, and the number of these frames; iw3's benchmark prints their quotient.

    PSNR is 10 log10(1 / (MSE + 1e-6)) of a frame. In holes iw3 divides the squared error of three channels by the
    number of pixels, so its numbers are 4.77 dB lower than `hole_psnr`.
    """
    kept = holes.flatten(1).any(1)
    squared, where = squared[kept].flatten(1).double(), holes[kept].flatten(1)
    inside = 3 * (squared * where).sum(1) / where.sum(1)
    sums = [float((-10 * torch.log10(mse + IW3_EPSILON)).sum()) for mse in (squared.mean(1), inside)]
    return {"frames": int(kept.sum()), "psnr": sums[0], "hole_psnr": sums[1]}


def hole_widths(holes: Tensor) -> Tensor:  # bool (T 1 H W) -> long (T 1 H W)
    """For each hole pixel the length of the run of hole pixels in its row, elsewhere 0."""
    right, left = hole_ends(holes)
    return (right - left - 1).masked_fill(~holes, 0)
