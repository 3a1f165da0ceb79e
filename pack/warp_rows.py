"""The warps of pack.holes row by row, compiled by numba: the same numbers as with tensors, much faster on a CPU.

Arithmetic is float32, operation by operation in the order of pack.holes, so that every rounding is the same. A row has
W values; "in walking order" means left to right for the left view and right to left for the right view.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np

# as in pack.holes; not imported, because numba's cache would not notice a change there
UNSEEN, OVERTAKEN, REACH = np.float32(-1), np.float32(-2), 100
ZERO, ONE, HALF = np.float32(0), np.float32(1), np.float32(0.5)
LEAST_WEIGHT, MOST_WEIGHT = np.float32(1e-5), np.float32(1 - 1e-5)

# nogil and plain threads: numba's own threads end the process when two callers or a fork meet them
kernel = numba.njit(nogil=True, cache=os.access(Path(__file__).parent, os.W_OK), error_model="numpy")


def mask_rows(depth, pad: int, slope: float, offset: float, left_first: bool, threads: int):
    """The hole values of depth rows, both float32 (N W), from a warp to the left (or right) and back."""
    mask = np.empty_like(depth)
    scale = pad, np.float32(slope), np.float32(offset)
    _share(lambda rows: _mask_rows(depth[rows], mask[rows], *scale, left_first), len(depth), threads)
    return mask


def image_rows(image, depth, pad: int, slope: float, offset: float, to_left: bool, threads: int):
    """Rows of C colours (N C W) moved by their depth (N W), UNSEEN and OVERTAKEN in their holes; all float32."""
    warped = np.empty_like(image)
    scale = pad, np.float32(slope), np.float32(offset)
    _share(lambda rows: _image_rows(image[rows], depth[rows], warped[rows], *scale, to_left), len(depth), threads)
    return warped


def _share(work, count, threads):
    """Call work with a slice of the rows on each of the threads."""
    ends = np.linspace(0, count, threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, map(slice, ends[:-1], ends[1:])))


@kernel
def _image_rows(image, depth, warped, pad, slope, offset, to_left):  # (N C W), (N W), (N C W) to be written
    width = depth.shape[1]
    for row in range(len(depth)):
        for colour in range(image.shape[1]):
            values = _warp(image[row, colour], depth[row], pad, slope, offset, to_left)
            for k in range(width):
                warped[row, colour, k if to_left else width - 1 - k] = values[k]


@kernel
def _mask_rows(depth, mask, pad, slope, offset, left_first):  # (N W), (N W) to be written
    width = depth.shape[1]
    warped, nothing = np.empty(width, np.float32), np.zeros(width, np.float32)
    for row in range(len(depth)):
        filled = _fill(_warp(depth[row], depth[row], pad, slope, offset, left_first))
        for k in range(width):
            warped[k if left_first else width - 1 - k] = filled[k]
        back = _warp(nothing, warped, pad, slope, offset, not left_first)
        for k in range(width):
            hole = ONE if back[k] == UNSEEN else HALF if back[k] == OVERTAKEN else ZERO
            mask[row, width - 1 - k if left_first else k] = hole


@kernel
def _warp(image, depth, pad, slope, offset, to_left):  # (W), (W) -> (W) in walking order
    """One row moved by its depth, UNSEEN and OVERTAKEN in its holes."""
    width = len(depth)
    positions = _positions(depth, pad, slope, offset, to_left)
    low_sources, high_sources = _nearest_sources(depth, positions, pad)
    values, sources = np.empty(width, np.float32), np.empty(width, np.float32)
    for k in range(width):
        x = k if to_left else width - 1 - k
        low, high = low_sources[x], high_sources[x]
        low_weight = ONE - _high_weight(positions[low]) if low >= 0 else ZERO
        high_weight = _high_weight(positions[high]) if high >= 0 else ZERO
        weights = low_weight + high_weight
        low_value = image[_inside(low - pad, width)] if low >= 0 else UNSEEN
        high_value = image[_inside(high - pad, width)] if high >= 0 else UNSEEN
        value = (low_value * low_weight + high_value * high_weight) / weights
        source = (np.float32(low) * low_weight + np.float32(high) * high_weight) / weights
        values[k] = value if weights > ZERO else UNSEEN
        sources[k] = source if weights > ZERO else UNSEEN
    _mark_overtaken(values, _fill(sources), to_left)
    return values


@kernel
def _positions(depth, pad, slope, offset, to_left):  # (W) -> (W + 2 pad), the border values being repeated outside
    width = len(depth)
    positions = np.empty(width + 2 * pad, np.float32)
    end = np.float32(len(positions) - 1)
    for x in range(len(positions)):
        shift = depth[_inside(x - pad, width)] * slope - offset
        position = np.float32(x) + shift if to_left else np.float32(x) - shift
        positions[x] = min(position, end) if position > ZERO else ZERO  # not a number becomes 0, which is a place
    return positions


@kernel
def _nearest_sources(depth, positions, pad):  # (W), (W + 2 pad) -> (W), (W) padded x, or -1
    """Each pixel's nearest source, the rightmost of equally near ones, of those that round down, and up, to it."""
    width, padded = len(depth), len(positions)
    nearest_low, nearest_high = np.full(padded, -np.inf, np.float32), np.full(padded, -np.inf, np.float32)
    low_sources, high_sources = np.full(padded, -1, np.int32), np.full(padded, -1, np.int32)
    for x in range(padded):  # every position is inside
        near = depth[_inside(x - pad, width)]
        low = np.uint32(positions[x])
        if near >= nearest_low[low]:
            nearest_low[low], low_sources[low] = near, x
        high = low + np.uint32(positions[x] > low)
        if near >= nearest_high[high]:
            nearest_high[high], high_sources[high] = near, x
    return low_sources[pad : pad + width], high_sources[pad : pad + width]


@kernel
def _high_weight(position):
    return min(max(position - np.floor(position), LEAST_WEIGHT), MOST_WEIGHT)


@kernel
def _inside(x, width):
    return min(max(x, 0), width - 1)


@kernel
def _fill(values):  # (W) -> (W), both in walking order
    """The row with values below 0 replaced as in pack.holes."""
    filled = np.empty_like(values)
    seen = -1  # the border, where a 0 stands
    for k in range(len(values)):
        if values[k] >= ZERO:
            seen = k
        source = max(seen, k - REACH)
        filled[k] = values[source] if source >= 0 else ZERO
    return filled


@kernel
def _mark_overtaken(values, sources, to_left):  # (W) to be marked, (W), both in walking order
    """Mark the pixels for which a smaller source (larger for the right view) comes within REACH."""
    width = len(values)
    following = np.empty(
        width, np.int32
    )  # the next pixel with such a source, found by way of those of the pixels between
    for k in range(width - 1, -1, -1):
        after = k + 1
        while after < width and (sources[after] >= sources[k] if to_left else sources[after] <= sources[k]):
            after = following[after]
        following[k] = after
        if after < width and after - k <= REACH:
            values[k] = OVERTAKEN
