"""Image filters: compiled row by row on a CPU, tensor operations on a GPU, with the same results to the last bit.

N images, C channels, H height, W width. Border values are repeated outwards. The compiled versions take float32, and
`max_filter` also uint8; other types are filtered by tensor operations.
"""

import numpy as np
import torch
import torch.nn.functional as F


def box_filter(x: torch.Tensor, radius: int) -> torch.Tensor:  # (N C H W) -> same
    """The mean of the (2 radius + 1)-pixel square around each pixel."""
    size = 2 * radius + 1
    if uses_rows(x):
        from pack.kernels.filter_rows import box_filter_rows  # numba takes a second to import

        return _by_rows(box_filter_rows, x, radius, np.float32(size**2))
    for dim, pad in ((-2, (0, 0, radius, radius)), (-1, (radius, radius, 0, 0))):
        length = x.shape[dim]
        padded = F.pad(x, pad, mode="replicate")
        x = padded.narrow(dim, 0, length).clone()
        for i in range(1, size):
            x += padded.narrow(dim, i, length)
    return x / size**2


def max_filter(x: torch.Tensor, radius: tuple[int, int]) -> torch.Tensor:  # (N C H W) -> same
    """The maximum of the (2 y + 1) x (2 x + 1)-pixel rectangle around each pixel, for radius (y, x)."""
    if uses_rows(x, torch.float32, torch.uint8):
        from pack.kernels.filter_rows import max_filter_rows  # as above

        return _by_rows(max_filter_rows, x, *radius)
    poolable = x if x.is_floating_point() else x.float()
    return F.max_pool2d(poolable, (2 * radius[0] + 1, 2 * radius[1] + 1), stride=1, padding=radius).to(x.dtype)


def smooth(x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:  # (N C H W), (N 1 H-1 W) in [0, 1] -> (N C H W)
    """A recursive filter along y: each row is moved towards the previous one by the factor `keep`, down and up again.

    x[i] <- (1 - keep) x[i] + keep x[i-1] for i = 1..H-1, then the same upwards with x[i+1].
    """
    x = x.clone(memory_format=torch.contiguous_format)
    if uses_rows(x):
        from pack.kernels.filter_rows import smooth_rows  # as above

        smooth_rows(x.numpy(), keep.contiguous()[:, 0].numpy())
        return x
    row, keep = x.unbind(-2), keep.unbind(-2)
    for i in range(1, len(row)):
        row[i].lerp_(row[i - 1], keep[i - 1])
    for i in range(len(row) - 2, -1, -1):
        row[i].lerp_(row[i + 1], keep[i])
    return x


def least_cost(x: torch.Tensor, cost: torch.Tensor) -> torch.Tensor:  # (N 1 H W), (N 1 H-1 W) -> (N 1 H W)
    """The least cost of reaching each row along y, for start costs x and the cost of each step, down and up again.

    x[i] <- min(x[i], x[i-1] + cost) for i = 1..H-1, then the same upwards with x[i+1].
    """
    x = x.clone(memory_format=torch.contiguous_format)
    if uses_rows(x):
        from pack.kernels.filter_rows import least_cost_rows  # as above

        least_cost_rows(x[:, 0].numpy(), cost.contiguous()[:, 0].numpy())
        return x
    row, cost = x.unbind(-2), cost.unbind(-2)
    for i in range(1, len(row)):
        torch.minimum(row[i], row[i - 1] + cost[i - 1], out=row[i])
    for i in range(len(row) - 2, -1, -1):
        torch.minimum(row[i], row[i + 1] + cost[i], out=row[i])
    return x


def uses_rows(x: torch.Tensor, *dtypes: torch.dtype) -> bool:
    """Whether the compiled version computes this tensor: on a CPU, in float32 or one of the dtypes given instead."""
    return x.device.type == "cpu" and x.dtype in (dtypes or (torch.float32,))


def _by_rows(filter_rows, x, *arguments):  # (N C H W) -> same
    x = x.contiguous()
    out = torch.empty_like(x)
    filter_rows(x.flatten(0, 1).numpy(), out.flatten(0, 1).numpy(), *arguments)
    return out
