"""How near a made right eye is to the true one: in uncovered pixels, in the band around them, over the frame.

T frames, H height, W width. Eyes are float (T 3 H W) in [0, 1], masks bool (T 1 H W). Errors are averaged over pixels
and colours (R, G and B alike) of all frames of a clip before a logarithm. A measure of a region is nan where the clip
has no such pixel.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from pack.kernels.filters import max_filter
from tools.evaluation.motion import grey
from tools.evaluation.quality import maps
from tools.evaluation.summary import SSIM, Measure
from train.evaluation.metrics import mean_where, psnr, temporal_difference

BAND = 8  # pixels to each side
EDGE = 0.04  # of 1: change of luma a pixel, by Sobel's filters, from which on a pixel is an edge
DIFFERENCE = 0.04  # of 1: difference between the eyes' luma from which on a pixel counts as different
EDGE_SHARE = 0.5  # of SIoU that its edges make up
REGIONS = {"uncovered": "uncovered pixels", "band": f"band of {BAND} px", "frame": "frame"}

TDE = "mean absolute error of the change to the next frame: flicker (dtSSD of Erofeev et al., BMVC 2015, absolute)"
MEASURES = {
    f"{region}_{name}": Measure(f"{title}, {where}", title.partition(",")[0], digits, about, higher)
    for region, where in REGIONS.items()
    for name, title, digits, about, higher in (
        ("psnr", "PSNR, dB", 2, "of the mean squared error of the region's pixels in a clip", True),
        ("ssim", "SSIM", 4, SSIM, True),
        ("tde", "TDE", 4, TDE, False),
    )
} | {
    "siou": Measure(
        "SIoU",
        "SIoU",
        4,
        "after Stereo Intersection-over-Union (Yu et al., Mono2Stereo, CVPR 2025), with thresholds of our own: the "
        "mean of two intersections over unions, of the eyes' edges and of the pixels that differ from the left eye",
        True,
    )
}


@dataclass(frozen=True)
class TrueEye:
    """Both true eyes of a clip, and which pixels of the right one the left one does not show."""

    left: torch.Tensor  # (T 3 H W)
    right: torch.Tensor  # (T 3 H W)
    uncovered: torch.Tensor  # bool (T 1 H W)

    @property
    def regions(self) -> dict[str, torch.Tensor]:  # bool (T 1 H W) each
        return {
            "uncovered": self.uncovered,
            "band": band(self.uncovered),
            "frame": torch.ones_like(self.uncovered),
        }


def band(uncovered: torch.Tensor, width: int = BAND) -> torch.Tensor:  # bool (T 1 H W) -> same
    """The pixels that are not uncovered, but have an uncovered one at most `width` px away in x and in y."""
    near = max_filter(uncovered.float(), (width, width)) > 0
    return near & ~uncovered


def measure(
    output: torch.Tensor, truth: TrueEye, filled: torch.Tensor, parts: dict[str, torch.Tensor]
) -> dict[str, float]:
    """All measures of a made right eye by name.

    `filled` (T 1 H W) are the pixels that the fill made, all others are the warp's. Besides MEASURES there are
    REGION_mse, the mean squared error, and REGION_mse_filled, the part of it from filled pixels.
    `parts` are masks of parts of the uncovered pixels, measured as "uncovered_psnr of NAME".
    """
    output = output.clamp(0, 1)
    squared, _, ssim = maps(output, truth.right)
    found = {"siou": siou(output, truth)}
    for name, where in truth.regions.items():
        mse = mean_where(squared, where)
        found |= {
            f"{name}_psnr": psnr(mse),
            f"{name}_ssim": mean_where(ssim, where),
            f"{name}_tde": temporal_difference(output, truth.right, where),
            f"{name}_mse": mse,
            f"{name}_mse_filled": mean_where(squared * filled, where),
        }
    for part, where in parts.items():
        found[f"uncovered_psnr of {part}"] = psnr(mean_where(squared, where))
    return {name: float(value) for name, value in found.items()}


def siou(output: torch.Tensor, truth: TrueEye) -> torch.Tensor:  # -> ()
    """Mean over frames of half IoU of edges and half IoU of what differs from the left eye, in [0, 1].

    After the Stereo Intersection-over-Union of Yu et al., "Mono2Stereo: A Benchmark and Empirical Study for Stereo
    Conversion", CVPR 2025: one term asks whether the right eye's outlines are where they belong, the other whether the
    eyes differ where they should. Edges are pixels whose luma changes by EDGE a pixel or more (Sobel's filters),
    different ones those whose luma is DIFFERENCE or more from the left eye's at the same place. The thresholds and the
    weight are ours, so that values compare with each other and not with published ones. Two empty sets count as 1.
    """
    left, made, right = (grey(eye) for eye in (truth.left, output, truth.right))
    outlines = iou(edges(made), edges(right))
    depth = iou((made - left).abs() >= DIFFERENCE, (right - left).abs() >= DIFFERENCE)
    return (EDGE_SHARE * outlines + (1 - EDGE_SHARE) * depth).mean()


def edges(luma: torch.Tensor) -> torch.Tensor:  # (T 1 H W) -> bool (T 1 H W)
    """Pixels where the luma changes by EDGE a pixel or more."""
    taps = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device=luma.device) / 8
    change = F.conv2d(F.pad(luma, (1, 1, 1, 1), mode="replicate"), torch.stack((taps, taps.T))[:, None])
    return change.square().sum(1, keepdim=True) >= EDGE**2


def iou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:  # bool (T 1 H W) x 2 -> float64 (T,)
    """Intersection over union of each frame; 1 where both are empty."""
    both, either = ((x.flatten(1).sum(1)).double() for x in (one & other, one | other))
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(both))
