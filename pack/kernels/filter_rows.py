"""The filters of pack.kernels.filters, compiled by numba row by row: the same results as with tensors, faster on a CPU.

A plane has H rows of W values, float32 or, for maxima, uint8. A row is finished while it is in the L1 cache.
"""

import numpy as np
from llvmlite import ir
from numba import float32
from numba.extending import intrinsic

from pack.kernels.compiled import kernel

HALF, ONE = np.float32(0.5), np.float32(1)


@intrinsic
def fused_multiply_add(context, a, b, c):
    """a * b + c rounded once, as PyTorch's vector instructions compute it."""

    def code(context, builder, signature, values):
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()] * 3)
        return builder.call(builder.module.declare_intrinsic("llvm.fma", [ir.FloatType()], kind), values)

    return float32(float32, float32, float32), code


@kernel
def box_filter_rows(planes, out, radius, area):  # (N H W), (N H W) out
    """`box_filter`: sums over neighbouring rows, then over neighbouring columns, divided by the square's area."""
    count, height, width = planes.shape
    padded = np.empty(width + 2 * radius, np.float32)
    row = padded[radius : radius + width]
    for n in range(count):
        for y in range(height):
            result = out[n, y]
            _copy(row, planes[n, max(y - radius, 0)])
            for other in range(y - radius + 1, y + radius + 1):
                _add(row, planes[n, min(max(other, 0), height - 1)])
            _repeat_ends(padded, radius)
            _copy(result, padded[:width])
            for x in range(1, 2 * radius + 1):
                _add(result, padded[x : x + width])
            _divide(result, area)


@kernel
def max_filter_rows(planes, out, radius_y, radius_x):  # (N H W), (N H W) out
    """`max_filter`: the maximum over neighbouring rows, then over neighbouring columns."""
    count, height, width = planes.shape
    padded = np.empty(width + 2 * radius_x, planes.dtype)
    row = padded[radius_x : radius_x + width]
    for n in range(count):
        for y in range(height):
            result = out[n, y]
            _copy(row, planes[n, y])
            for other in range(max(y - radius_y, 0), min(y + radius_y + 1, height)):
                _raise(row, planes[n, other])
            _repeat_ends(padded, radius_x)
            _copy(result, padded[:width])
            for x in range(1, 2 * radius_x + 1):
                _raise(result, padded[x : x + width])


@kernel
def smooth_rows(planes, keep):  # (N C H W) changed in place, (N H-1 W)
    """`smooth`: each row moved towards the previous one, down and up again."""
    count, channels, height, _ = planes.shape
    for n in range(count):
        for c in range(channels):
            for y in range(1, height):
                _pull(planes[n, c, y], planes[n, c, y - 1], keep[n, y - 1])
            for y in range(height - 2, -1, -1):
                _pull(planes[n, c, y], planes[n, c, y + 1], keep[n, y])


@kernel
def least_cost_rows(planes, cost):  # (N H W) changed in place, (N H-1 W)
    """`least_cost`: each row lowered to the previous one plus the cost of the step, down and up again."""
    count, height, _ = planes.shape
    for n in range(count):
        for y in range(1, height):
            _lower(planes[n, y], planes[n, y - 1], cost[n, y - 1])
        for y in range(height - 2, -1, -1):
            _lower(planes[n, y], planes[n, y + 1], cost[n, y])


# Each function is one loop over a row, so that it compiles to vector instructions. For that it also needs np.maximum
# instead of max, and reads each value only once.


@kernel
def _copy(row, other):
    for x in range(len(row)):
        row[x] = other[x]


@kernel
def _repeat_ends(padded, radius):
    for x in range(radius):
        padded[x], padded[len(padded) - 1 - x] = padded[radius], padded[len(padded) - 1 - radius]


@kernel
def _add(row, other):
    for x in range(len(row)):
        row[x] += other[x]


@kernel
def _divide(row, divisor):
    for x in range(len(row)):
        row[x] /= divisor


@kernel
def _raise(row, other):
    for x in range(len(row)):
        row[x] = np.maximum(row[x], other[x])


@kernel
def _lower(row, other, step):
    for x in range(len(row)):
        row[x] = np.minimum(row[x], other[x] + step[x])


@kernel
def _pull(row, other, weights):  # torch.lerp, with its roundings
    for x in range(len(row)):
        start, end, weight = row[x], other[x], weights[x]
        small = abs(weight) < HALF
        row[x] = fused_multiply_add(weight if small else weight - ONE, end - start, start if small else end)
