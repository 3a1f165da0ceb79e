"""Filters of pictures, made of tensors or, on a CPU with numba, compiled row by row: the same numbers.

N pictures, C channels, H height, W width. What lies beyond a border is the border's value. What is not float32 is
filtered as tensors, but for maxima of uint8.
"""

import numpy as np
import torch
import torch.nn.functional as F

from pack.kernels.compiled import HAS_NUMBA


def box_filter(x: torch.Tensor, radius: int) -> torch.Tensor:  # (N C H W) -> same
    """The mean of the (2 radius + 1)-pixel square around each pixel."""
    size = 2 * radius + 1
    if _has_rows(x):
        from pack.kernels.filter_rows import box_filter_rows  # not before it is used, because it imports numba

        return _by_rows(box_filter_rows, x, radius, np.float32(size**2))
    for dim, pad in ((-2, (0, 0, radius, radius)), (-1, (radius, radius, 0, 0))):
        length = x.shape[dim]
        padded = F.pad(x, pad, mode="replicate")
        x = padded.narrow(dim, 0, length).clone()
        for i in range(1, size):
            x += padded.narrow(dim, i, length)
    return x / size**2


def max_filter(x: torch.Tensor, radius: tuple[int, int]) -> torch.Tensor:  # (N C H W) -> same
    """The maximum of the rectangle around each pixel, which reaches radius (y, x) pixels far; of uint8, too."""
    if _has_rows(x, torch.float32, torch.uint8):
        from pack.kernels.filter_rows import max_filter_rows

        return _by_rows(max_filter_rows, x, *radius)
    poolable = x if x.is_floating_point() else x.float()
    return F.max_pool2d(poolable, (2 * radius[0] + 1, 2 * radius[1] + 1), stride=1, padding=radius).to(x.dtype)


def smooth(x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:  # (N C H W), (N 1 H-1 W) in [0, 1] -> (N C H W)
    """Each row pulled by so much to the one before it, from the first down to the last and up again."""
    x = x.clone(memory_format=torch.contiguous_format)
    if _has_rows(x):
        from pack.kernels.filter_rows import smooth_rows

        smooth_rows(x.numpy(), keep.contiguous()[:, 0].numpy())
        return x
    row, keep = x.unbind(-2), keep.unbind(-2)
    for i in range(1, len(row)):
        row[i].lerp_(row[i - 1], keep[i - 1])
    for i in range(len(row) - 2, -1, -1):
        row[i].lerp_(row[i + 1], keep[i])
    return x


def approach(x: torch.Tensor, cost: torch.Tensor) -> torch.Tensor:  # (N 1 H W), (N 1 H-1 W) -> (N 1 H W)
    """Each row no more than the one before it and the step from there, from the first down to the last and up again."""
    x = x.clone(memory_format=torch.contiguous_format)
    if _has_rows(x):
        from pack.kernels.filter_rows import approach_rows

        approach_rows(x[:, 0].numpy(), cost.contiguous()[:, 0].numpy())
        return x
    row, cost = x.unbind(-2), cost.unbind(-2)
    for i in range(1, len(row)):
        torch.minimum(row[i], row[i - 1] + cost[i - 1], out=row[i])
    for i in range(len(row) - 2, -1, -1):
        torch.minimum(row[i], row[i + 1] + cost[i], out=row[i])
    return x


def _has_rows(x, *kinds):
    return HAS_NUMBA and x.device.type == "cpu" and x.dtype in (kinds or (torch.float32,))


def _by_rows(filter_rows, x, *how):
    x = x.contiguous()
    out = torch.empty_like(x)
    filter_rows(x.flatten(0, 1).numpy(), out.flatten(0, 1).numpy(), *how)
    return out
