"""The nearness that a warp is given: the scene's own, the same as a depth model would give it, an estimate.

T frames, H height, W width of the frames; h, w of the nearness.
"""

import torch
import torch.nn.functional as F

from pack.depth.models import OFFLINE, load_depth
from pack.kernels.filters import box_filter

EXACT, DEGRADED = "exact", "degraded"
KINDS = (EXACT, DEGRADED, OFFLINE)
SHORT_SIDE = 392  # of most depth models' output
BLUR = 1  # pixels of the depth map: radius of a box filter that is applied twice
SHIFT = 1.0  # pixels of the depth map: the most by which all of it is moved
NOISE, GRAIN = 0.02, 12  # deviation of the noise, and the number of its cells along the shorter side
EDGE_DILATION = {EXACT: 0}  # a remedy for soft edges, which exact depth does not need; iw3's own for all others
IW3_DILATION = 2


def edge_dilation(kind: str) -> int:
    """Pixels of the depth map by which near sides are grown before the warp."""
    return EDGE_DILATION.get(kind, IW3_DILATION)


def nearness_of(kind: str, left: torch.Tensor, exact: torch.Tensor, seed: int) -> torch.Tensor:
    """The nearness (T 1 h w) in [0, 1] of this kind for a left eye (T 3 H W) whose own is exact (T 1 H W)."""
    if kind == EXACT:
        return exact
    if kind == DEGRADED:
        return degrade(exact, torch.Generator().manual_seed(seed))
    raw = load_depth(kind, None, left.device)(left).clone().float()
    return ((raw - raw.min()) / (raw.max() - raw.min()).clamp(min=1e-6)).clamp(0, 1)  # over the clip, as in records


def degrade(exact: torch.Tensor, generator: torch.Generator) -> torch.Tensor:  # (T 1 H W) -> (T 1 h w) in [0, 1]
    """Nearness as depth models give it: at their resolution, blurred, shifted, with slow noise that changes in time."""
    scale = min(1, SHORT_SIDE / min(exact.shape[-2:]))
    size = [round(length * scale) for length in exact.shape[-2:]]
    small = F.interpolate(exact, size, mode="bilinear", antialias=True)
    small = box_filter(box_filter(small, BLUR), BLUR)
    dx, dy = (torch.rand(2, generator=generator) * 2 - 1) * SHIFT
    small = translate(small, float(dx), float(dy))
    cells = [max(2, round(GRAIN * length / min(size))) for length in size]
    noise = torch.randn(len(exact), 1, *cells, generator=generator).to(exact.device)
    small = small + NOISE * F.interpolate(noise, size, mode="bicubic")
    return small.clamp(0, 1)


def translate(image: torch.Tensor, dx: float, dy: float) -> torch.Tensor:  # (T C H W) -> same
    """The image moved right by dx and down by dy pixels, bilinear, its border repeated."""
    height, width = image.shape[-2:]
    x = ((torch.arange(width, device=image.device) - dx).clamp(0, width - 1)) * 2 / max(width - 1, 1) - 1
    y = ((torch.arange(height, device=image.device) - dy).clamp(0, height - 1)) * 2 / max(height - 1, 1) - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1).expand(len(image), -1, -1, -1)
    return F.grid_sample(image, grid, align_corners=True)
