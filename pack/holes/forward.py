"""The pixels that a change of view hides, found by warping a depth map to the other eye and back.

B frames, C channels, H height, W width. Depth is nearness, 0 far to 1 near, already mapped to disparity. Divergence is
the difference in disparity between nearness 0 and 1, in percent of the width; each view gets half of it. Convergence is
the nearness that does not move.
"""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from pack.kernels.filters import max_filter, uses_rows

View = Literal["left", "right"]
UNSEEN, OVERTAKEN = -1.0, -2.0  # in a warped image: no source lands here, and a nearer layer has moved past here
REACH = 100  # pixels: iw3 iterates 100 times from neighbour to neighbour, which limits how far values travel


def nonwarp_mask(
    depth: torch.Tensor, divergence: float, convergence: float, view: View, size: tuple[int, int] | None = None
) -> torch.Tensor:  # (B 1 h w) -> float (B 1 H W)
    """The pixels that the other view hides: 1 where no source lands, 0.5 where a nearer layer has moved past.

    `size` is the frames' (H, W) if it differs from the depth's.
    """
    if size is not None and tuple(size) != depth.shape[-2:]:
        depth = F.interpolate(depth.float(), size, mode="bilinear", align_corners=True, antialias=True)
    return half_holes(depth, divergence, convergence, view).float() / 2


def half_holes(
    depth: torch.Tensor,
    divergence: float,
    convergence: float,
    view: View,
    mirrored: bool = False,
    threads: int | None = None,
    spans: np.ndarray | None = None,
) -> torch.Tensor:  # (B 1 H W) -> uint8 (B 1 H W)
    """Twice the mask of `nonwarp_mask`: 2, 1 and 0. `mirrored` gives the mask of the depth's mirror image.

    On a CPU the rows are shared among `threads`, by default torch's number of threads. `spans`, int (H 2), are the
    columns [first, end) of each row that are needed: the others are 0 on a CPU; a GPU computes them too.
    """
    # `turned`: the left view is computed as the mirror image of the right one
    depth, turned = depth.float(), view == "left"
    if uses_rows(depth):
        return _mask_by_rows(depth, divergence, convergence, turned, mirrored, threads, spans)
    depth = depth.flip(-1) if mirrored != turned else depth
    # one frame at a time, because the tensors of a 1080p frame take 400 MB
    mask = torch.cat([_mask_by_tensors(frame, divergence, convergence, view) for frame in depth.split(1)])
    return mask.flip(-1) if turned else mask


def forward_warp(
    image: torch.Tensor,
    depth: torch.Tensor,
    divergence: float,
    convergence: float,
    view: View,
    fill: bool = False,
    base_width: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:  # (B C H W) in [0, 1], (B 1 H W) -> (B C H W), (B 1 H W)
    """The image of one eye, and its holes: 1 where no source lands, 0.5 where a nearer layer has moved past.

    In holes the image is 0 or, with `fill`, taken from the background. Divergence is a percentage of `base_width`, by
    default of the image's width.
    """
    image, depth = image.float(), depth.float()
    warp = _warp_by_rows if uses_rows(image) else _warp
    warped = warp(image, depth, divergence, convergence, view, base_width)
    holes = _hole_values(warped[:, :1])
    return (_fill(warped, view) if fill else warped).clamp(min=0), holes


def warp_scale(width: int, divergence: float, convergence: float) -> tuple[int, float, float]:
    """(pad, slope, offset) in pixels: nearness d moves by d * slope - offset, which is at most pad in size."""
    slope = divergence * 0.01 * width * 0.5
    return int(width * divergence * 0.01 + 2), slope, slope * convergence


def _mask_by_rows(depth, divergence, convergence, turned, mirrored, threads, spans):  # (B 1 H W) -> uint8 (B 1 H W)
    from pack.holes.forward_rows import mask_rows  # numba takes a second to import

    batch, _, height, width = depth.shape
    scale = warp_scale(width, divergence, convergence)
    if spans is None:
        spans = np.full((height, 2), (0, width))
    if turned:
        spans = width - spans[:, ::-1]
    rows, spans = depth.reshape(-1, width).numpy(), np.tile(spans, (batch, 1))
    mask = mask_rows(rows, spans, *scale, mirrored, turned, threads or torch.get_num_threads())
    return torch.from_numpy(mask).view(depth.shape)


def _warp_by_rows(image, depth, divergence, convergence, view, base_width):  # as _warp
    from pack.holes.forward_rows import image_rows  # as above

    width = image.shape[-1]
    rows = image.transpose(1, 2).contiguous()  # (B H C W)
    scale = warp_scale(base_width or width, divergence, convergence)
    depth = depth.reshape(-1, width).numpy()
    warped = image_rows(rows.flatten(0, 1).numpy(), depth, *scale, view == "left", torch.get_num_threads())
    return torch.from_numpy(warped).view(rows.shape).transpose(1, 2)


def _mask_by_tensors(depth, divergence, convergence, view):  # (B 1 H W) -> uint8 (B 1 H W)
    there, back = ("left", "right") if view == "right" else ("right", "left")
    warped = _fill(_warp(depth, depth, divergence, convergence, there), there)
    return (_hole_values(_warp(torch.zeros_like(depth), warped, divergence, convergence, back)) * 2).byte()


def _hole_values(warped):  # (B 1 H W) -> 1, 0.5, 0
    return (warped == UNSEEN).float() + 0.5 * (warped == OVERTAKEN)


def _warp(image, depth, divergence, convergence, view, base_width=None):
    """The image (B C H W) moved by its depth (B 1 H W), with UNSEEN and OVERTAKEN in its holes."""
    width = image.shape[-1]
    pad, slope, offset = warp_scale(base_width or width, divergence, convergence)
    image, depth = (F.pad(plane, (pad, pad, 0, 0), mode="replicate") for plane in (image, depth))
    x = torch.arange(image.shape[-1], device=depth.device).expand_as(depth)
    shift = depth * slope - offset
    position = (x + shift if view == "left" else x - shift).clamp(0, image.shape[-1] - 1)
    high_weight = (position - position.floor()).clamp(1e-5, 1 - 1e-5)

    layers = torch.cat((image, x.float()), 1)  # (B C+1 H W + 2 pad)
    total, weights = 0, 0
    for target, weight in ((position.floor(), 1 - high_weight), (position.ceil(), high_weight)):
        source = _nearest_sources(depth, target.long(), x)[..., pad : pad + width]
        missed = source < 0
        source = source.clamp(min=0)
        weight = weight.gather(-1, source).masked_fill(missed, 0)
        value = layers.gather(-1, source.expand(-1, layers.shape[1], -1, -1)).masked_fill(missed, UNSEEN)
        total, weights = total + value * weight, weights + weight
    warped = (total / weights).masked_fill(weights == 0, UNSEEN)  # (B C+1 H W)
    return warped[:, :-1].masked_fill(_overtaken(_fill(warped[:, -1:], view), view), OVERTAKEN)


def _nearest_sources(depth, target, x):  # each (B 1 H W) -> (B 1 H W) long
    """For each pixel the x of the nearest source that lands on it, the rightmost of equally near ones, or -1."""
    nearest = torch.full_like(depth, -torch.inf).scatter_reduce_(-1, target, depth, "amax")
    x = x.masked_fill(depth != nearest.gather(-1, target), -1)
    return torch.full_like(target, -1).scatter_reduce_(-1, target, x, "amax")


def _fill(image, view):  # (B C H W) -> same
    """The image with values below 0 replaced by the nearest value on the left, or for the right view on the right.

    One of iw3's iterations moves every value one pixel into a hole, so n of them give each hole pixel the value of the
    nearest seen pixel, or of the pixel n away where that is nearer. The pixel beyond the border counts as 0.
    """
    image = F.pad(image if view == "left" else image.flip(-1), (1, 0))
    x = torch.arange(image.shape[-1], device=image.device).expand_as(image)
    seen = x.masked_fill(image < 0, 0).cummax(-1).values
    filled = image.gather(-1, torch.maximum(seen, x - REACH))[..., 1:]
    return filled if view == "left" else filled.flip(-1)


def _overtaken(source, view):  # (B 1 H W) x of the sources -> bool
    """The pixels that a nearer layer has moved past: in the left view they were right of it and are now left of it.

    One of iw3's iterations lowers every source to its right neighbour's if that is smaller, and marks it. After n of
    them it is the smallest of itself and the next n, so it is marked if any of those is smaller than itself. The right
    view is the mirror image of this.
    """
    source = source if view == "left" else -source.flip(-1)
    beyond = F.pad(-source, (0, REACH), value=-torch.inf)[..., 1:]
    smallest = -F.max_pool2d(beyond, (1, REACH), stride=1)
    return smallest < source if view == "left" else (smallest < source).flip(-1)


def dilate_edge(depth: torch.Tensor, n: int | tuple[int, int]) -> torch.Tensor:  # (B 1 H W) -> same
    """The depth with near regions dilated at depth edges, by n pixels or by (x, y) pixels."""
    x, y = (n, n) if isinstance(n, int) else n
    both = min(x, y)
    for radius, rounds in (((1, 1), both), ((1, 0), y - both), ((0, 1), x - both)):
        for _ in range(rounds):
            weight = edge_weight(depth)
            depth = depth * (1 - weight) + max_filter(_soften(depth), radius) * weight
    return depth


def edge_weight(depth: torch.Tensor) -> torch.Tensor:  # (B 1 H W) -> same, in [0, 1]
    """How strong the depth edge at each pixel is: its local range in standard deviations, clipped at 3, in [0, 1]."""
    local_range = max_filter(depth, (1, 1)) + max_filter(-depth, (1, 1))
    local_range = local_range - local_range.mean((1, 2, 3), keepdim=True)
    deviation = local_range.square().mean((1, 2, 3), keepdim=True).sqrt()
    weight = (local_range / (deviation + 1e-6)).clamp(-3, 3)
    low, high = weight.amin((1, 2, 3), keepdim=True), weight.amax((1, 2, 3), keepdim=True)
    return (weight - low) / (high - low + 1e-6)


def _soften(depth):
    taps = torch.tensor([[21.0, 31, 21], [31, 48, 31], [21, 31, 21]], device=depth.device) / 256
    return F.conv2d(F.pad(depth, (1, 1, 1, 1), mode="replicate"), taps.to(depth.dtype)[None, None])
