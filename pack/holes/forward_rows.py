"""The warps of `forward`, compiled by numba row by row: the same results as with tensors, much faster on a CPU.

Arithmetic is float32, in the order of the operations of `forward`, so that every rounding is the same. A row has W
values; "in scan order" means left to right for the left view and right to left for the right view.
"""

import numpy as np

from pack.kernels.compiled import kernel, share

# as in pack.holes.forward; not imported, because numba's cache does not notice changes in other files
UNSEEN, OVERTAKEN, REACH = np.float32(-1), np.float32(-2), 100
ZERO, ONE = np.float32(0), np.float32(1)
LEAST_WEIGHT, MOST_WEIGHT = np.float32(1e-5), np.float32(1 - 1e-5)


def mask_rows(
    depth: np.ndarray,
    spans: np.ndarray,
    pad: int,
    slope: float,
    offset: float,
    mirrored: bool,
    turned: bool,
    threads: int,
) -> np.ndarray:
    """Twice the hole values of depth rows, float32 (N W), or of their mirror images: uint8 (N W).

    The warp goes to the left view and back; with `turned` it goes to the right view and back, in mirror images. `spans`
    (N 2) are the columns [first, end) of each warped row that are needed; the others are 0.
    """
    mask = np.zeros(depth.shape, np.uint8)
    scale = pad, np.float32(slope), np.float32(offset)
    beyond = dependence(depth, slope, offset)
    share(
        lambda rows: _mask_rows(depth[rows], mask[rows], spans[rows], beyond, *scale, mirrored != turned, turned),
        len(depth),
        threads,
    )
    return mask


def image_rows(
    image: np.ndarray, depth: np.ndarray, pad: int, slope: float, offset: float, to_left: bool, threads: int
) -> np.ndarray:
    """Rows of C channels (N C W) moved by their depth (N W), with UNSEEN and OVERTAKEN in holes; all float32."""
    warped = np.empty_like(image)
    scale = pad, np.float32(slope), np.float32(offset)
    share(lambda rows: _image_rows(image[rows], depth[rows], warped[rows], *scale, to_left), len(depth), threads)
    return warped


def dependence(depth: np.ndarray, slope: float, offset: float) -> int:
    """How many pixels to either side can influence a pixel's hole value.

    Let D be the largest difference between two shifts. Neighbours land at most D apart, so UNSEEN runs are no longer.
    Each smaller source ahead of an overtaken pixel is farther ahead, so after at most D pixels comes one that is
    not overtaken: holes are at most 2 D wide. A warp looks that far (at most REACH) to fill its sources and to mark
    overtaken pixels, and the first warp also to fill its holes. Both look for sources as far as these move.
    """
    low, high = float(depth.min(initial=0)), float(depth.max(initial=0))
    farthest = max(abs(low * slope - offset), abs(high * slope - offset)) + 2
    hole = 2 * (slope * (high - low) + 2) + 4 + farthest  # plus a border that has moved into the frame
    beyond = 3 * (min(REACH, hole) + 1) + 2 * farthest
    return int(beyond) + 1 if beyond < depth.shape[1] else depth.shape[1]  # the whole row if beyond is nan


@kernel
def _image_rows(image, depth, warped, pad, slope, offset, to_left):  # (N C W), (N W), (N C W) to be written
    for row in range(len(depth)):
        for colour in range(image.shape[1]):
            values = _warp(image[row, colour], depth[row], 0, pad, slope, offset, to_left)
            warped[row, colour] = values if to_left else values[::-1]


@kernel
def _mask_rows(depth, mask, spans, beyond, pad, slope, offset, flipped, turned):  # (N W), (N W) to be written, (N 2)
    """The masks of rows that are flipped before the warp and, turned, flipped again after it."""
    width = depth.shape[1]
    for row in range(len(depth)):
        first, end = spans[row]
        if first >= end:
            continue
        start, stop = max(first - beyond, 0), min(end + beyond, width)
        part = depth[row, width - stop : width - start][::-1].copy() if flipped else depth[row, start:stop].copy()
        warped = _fill(_warp(part, part, start, pad, slope, offset, not turned))
        back = _warp(None, warped[::-1].copy() if turned else warped, start, pad, slope, offset, turned)
        back = back if turned else back[::-1]
        for x in range(first, end):
            value = back[x - start]
            mask[row, width - 1 - x if turned else x] = 2 if value == UNSEEN else 1 if value == OVERTAKEN else 0


@kernel
def _warp(image, depth, start, pad, slope, offset, to_left):  # (W), (W) -> (W) in scan order
    """A row, or the part of one that begins at column `start`, moved by its depth, with UNSEEN and OVERTAKEN in holes.

    Without an image the other values are 0.
    """
    width = len(depth)
    depth = _padded(depth, pad)
    positions = _positions(depth, start, slope, offset, to_left)
    low_sources, high_sources = _nearest_sources(depth, positions, start)
    for x in range(len(positions)):
        positions[x] = min(max(positions[x] - np.floor(positions[x]), LEAST_WEIGHT), MOST_WEIGHT)
    high_weights = positions  # of the sources
    padded_image = depth if image is None else _padded(image, pad)
    values, sources = np.empty(width, np.float32), np.empty(width, np.float32)
    for k in range(width):
        x = np.uint32(pad + (k if to_left else width - 1 - k))
        low, high = low_sources[x], high_sources[x]
        value = source = UNSEEN
        if low >= 0 or high >= 0:
            low_weight, low_value, high_weight, high_value = ZERO, UNSEEN, ZERO, UNSEEN
            if low >= 0:
                low_weight, low_value = ONE - high_weights[low], padded_image[low]
            if high >= 0:
                high_weight, high_value = high_weights[high], padded_image[high]
            weights = low_weight + high_weight
            value = ZERO if image is None else (low_value * low_weight + high_value * high_weight) / weights
            # columns of the whole row, as they are rounded
            source = (np.float32(start + low) * low_weight + np.float32(start + high) * high_weight) / weights
        values[k], sources[k] = value, source
    _mark_overtaken(values, _fill(sources), to_left)
    return values


@kernel
def _padded(values, pad):  # (W) -> (W + 2 pad), border values repeated outside
    padded = np.empty(len(values) + 2 * pad, np.float32)
    padded[:pad] = values[0]
    padded[pad : pad + len(values)] = values
    padded[pad + len(values) :] = values[-1]
    return padded


@kernel
def _positions(depth, start, slope, offset, to_left):  # (W + 2 pad) -> same
    positions = np.empty_like(depth)
    least, most = np.float32(start), np.float32(start + len(depth) - 1)
    for x in range(len(depth)):
        shift = depth[x] * slope - offset
        position = np.float32(start + x) + shift if to_left else np.float32(start + x) - shift
        positions[x] = min(position, most) if position > least else least  # nan, too, becomes a position
    return positions


@kernel
def _nearest_sources(depth, positions, start):  # (W + 2 pad) x 2 -> (W + 2 pad) x 2: padded x, or -1
    """Each pixel's nearest source among those whose position rounds down to it, and among those that round up.

    Of equally near sources the rightmost is taken.
    """
    low_sources, high_sources = np.full(len(depth), -1, np.int32), np.full(len(depth), -1, np.int32)
    for x in range(len(depth)):  # every position is inside
        floor = np.uint32(positions[x])
        low = floor - np.uint32(start)
        high = low + np.uint32(positions[x] > floor)
        if low_sources[low] < 0 or depth[x] >= depth[low_sources[low]]:
            low_sources[low] = x
        if high_sources[high] < 0 or depth[x] >= depth[high_sources[high]]:
            high_sources[high] = x
    return low_sources, high_sources


@kernel
def _fill(values):  # (W) -> (W), both in scan order
    """The row with values below 0 replaced as in pack.holes.forward."""
    filled = np.empty_like(values)
    seen, last = -1, ZERO  # the pixel beyond the border counts as 0
    for k in range(len(values)):
        if values[k] >= ZERO:
            seen, last = k, values[k]
        elif k - seen > REACH:
            last = values[k - REACH]
        filled[k] = last
    return filled


@kernel
def _mark_overtaken(values, sources, to_left):  # (W) to be marked, (W), both in scan order
    """Mark pixels that a smaller source (for the right view, a larger one) follows within REACH."""
    extreme = sources[-1]  # of all that follow
    for k in range(len(values) - 2, -1, -1):
        if not (extreme < sources[k] if to_left else extreme > sources[k]):
            extreme = sources[k]
            continue
        for after in range(k + 1, min(k + REACH + 1, len(values))):
            if sources[after] < sources[k] if to_left else sources[after] > sources[k]:
                values[k] = OVERTAKEN
                break
