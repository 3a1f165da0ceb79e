"""The warp of `monobw`, compiled by numba row by row: the same positions and masks as with tensors, faster on a CPU.

Arithmetic is float32, in the order of the operations of `monobw`, so that every rounding of a position is the same.
"""

import numpy as np

from pack.kernels.compiled import kernel, share
from pack.kernels.lanes import LANES, WINDOW, blends, has_lanes, pairs

# as in pack.holes.monobw; not imported, because numba's cache does not notice changes in other files
WIDENED, EPSILON = 2, np.float32(1e-5)
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)


def grid_rows(
    depth: np.ndarray, convergence: float, slope: float, ramp: np.ndarray, taps: np.ndarray, threads: int
) -> np.ndarray:
    """Where the left eye samples along x, in [-1, 1] as `grid_sample` counts it, from depth rows: float32 (N W).

    Shifts are multiplied by `ramp` (W), folds are smoothed by `taps`, an odd number.
    """
    grid = np.empty_like(depth)
    scale = np.float32(convergence), np.float32(slope), ramp, taps
    share(lambda rows: _grid_rows(depth[rows], grid[rows], *scale), len(depth), threads)
    return grid


def sample_rows(
    frames: np.ndarray,
    grid: np.ndarray,
    eyes: np.ndarray,
    holes: np.ndarray,
    least: float,
    first: int,
    end: int,
    threads: int,
) -> None:
    """Write eyes, float32 (B C H W), from frames at the columns of grid (B H W), and holes, bool (B H W).

    A column is a hole where the grid advances by less than `least` to or from it, from column `first` to before `end`.
    """
    height = grid.shape[1]
    bounds = np.float32(least), first, end
    share(
        lambda rows: _sample_rows(frames, grid, eyes, holes, *bounds, rows.start, rows.stop),
        len(grid) * height,
        threads,
    )


def moved_rows(grid: np.ndarray, least: float, first: int, end: int, threads: int) -> np.ndarray:
    """The holes of a left eye, moved to the edges that open them: grid float32 (N W) -> bool (N W).

    A column is a hole as in `sample_rows`. A run of them moves by as much as its last column samples away from itself.
    """
    moved = np.zeros(grid.shape, np.bool_)
    bounds = np.float32(least), first, end
    share(lambda rows: _moved_rows(grid[rows], moved[rows], *bounds), len(grid), threads)
    return moved


@kernel
def _grid_rows(depth, grid, convergence, slope, ramp, taps):  # (N W), (N W) to be written
    width = depth.shape[1]
    forward, work = np.empty(width, np.float32), np.empty(width, np.float32)
    falls, folds = np.zeros(width // 8 * 8 + 8, np.uint8), np.empty((width, 2), np.int64)
    found, spare, bins = np.empty(width + 1, np.uint32), np.empty(width + 1, np.uint32), np.empty(width, np.uint32)
    low, start, end = np.empty(width, np.uint32), np.empty(width, np.float32), np.empty(width, np.float32)
    for row in range(len(depth)):
        for x in range(width):
            forward[x] = np.float32(x) + (depth[row, x] - convergence) * slope * ramp[x]
        count = _unfold(forward, falls, folds)
        _smooth(forward, work, folds[:count], taps)
        if count and _falls(forward):  # smoothing may make them
            _find_in_unsorted(forward, work, found)
        else:
            _find_in_sorted(forward, bins, spare, found)
        _invert(forward, found, low, start, end, grid[row])


@kernel
def _falls(values):  # (W)
    """How many values are smaller than the one before."""
    count, after = np.int32(0), values[1:]
    for x in range(len(after)):
        count += np.int32(after[x] < values[x])
    return count


@kernel
def _unfold(values, falls, folds):  # (W), uint8 (a multiple of 8 above W) with zeros from W - 1 on, (W 2) to be written
    """Values become their running maximum; the number of folds, the runs of columns [begin, end) that this changes.

    Most columns are in no fold: where none of eight falls, they are passed at once.
    """
    width, after, eights = len(values), values[1:], falls.view(np.uint64)
    for x in range(len(after)):
        falls[x] = after[x] < values[x]
    count = x = 0
    while x < width - 1:
        if not falls[x]:
            x += 1 if x & 7 or eights[x >> 3] else 8
            continue
        most = values[x]
        x += 1
        folds[count, 0] = x
        while x < width and values[x] < most:
            values[x] = most
            x += 1
        folds[count, 1] = x
        count += 1
    return count


@kernel
def _smooth(forward, smoothed, folds, taps):  # (W), (W) to work in, (N 2)
    """Smooth the columns of folds and WIDENED ones at each side of them."""
    width, reach, done = len(forward), len(taps) // 2, 0
    for n in range(len(folds)):
        for x in range(max(folds[n, 0] - WIDENED, done), min(folds[n, 1] + WIDENED, width)):
            total = ZERO
            for i in range(len(taps)):
                total += forward[min(max(x + i - reach, 0), width - 1)] * taps[i]
            smoothed[x] = total
            done = x + 1
    for n in range(len(folds)):  # now that all are read
        for x in range(max(folds[n, 0] - WIDENED, 0), min(folds[n, 1] + WIDENED, width)):
            forward[x] = smoothed[x]


@kernel
def _find_in_sorted(forward, bins, spare, found):  # (W), (W) and (W + 1) to work in, (W + 1) to be written
    """For each column the first that lands there or beyond: the number of those that land before it.

    Column j lands before all columns from floor(forward[j]) + 1 on, so j + 1 of them do there.
    """
    width = len(forward)
    last = np.float32(width - 1)
    for x in range(width):
        place = forward[x] if forward[x] < last else last  # also of nan
        bins[x] = np.uint32(np.int32(np.floor(max(place, -ONE))) + np.int32(1))
    for x in range(len(found)):
        found[x] = 0
    for x in range(width):
        found[bins[x]] = x + 1
    for x in range(bins[width - 1], len(found)):
        found[x] = width
    gap, after = np.int32(1), bins[1:]
    for x in range(len(after)):
        distance = np.int32(np.int32(after[x]) - np.int32(bins[x]))
        gap = max(gap, distance if distance >= 0 else np.int32(width + 1))  # beside nan the order is lost
    _fill(found, spare, gap)


@kernel
def _fill(found, spare, gap):  # (W), (W) to work in, and at most so many columns from one value above 0 to the next
    """Each value becomes the running maximum: of twice as many columns after each step, so that vectors compute it."""
    reach = 1
    while reach < gap:
        _fill_from(found, spare, reach)
        _fill_from(spare, found, 2 * reach)
        reach *= 4


@kernel
def _fill_from(values, filled, reach):  # (W), (W) to be written
    before, here, after = values[: max(len(values) - reach, 0)], values[reach:], filled[reach:]
    for x in range(min(reach, len(values))):
        filled[x] = values[x]
    for x in range(len(before)):
        after[x] = max(before[x], here[x])


@kernel
def _invert(forward, found, low, start, end, grid):  # (W), (W + 1), three (W) to work in, (W) to be written
    """Grid becomes the inverse map of forward, in [-1, 1]. Its loops are apart, so that most use vectors."""
    width = len(forward)
    last = np.uint32(width - 1)
    for x in range(width):
        low[x] = min(max(found[x], np.uint32(1)) - np.uint32(1), last)
    if has_lanes() and width >= WINDOW:
        for block in range(0, width, LANES):
            x = min(block, width - LANES)
            if not pairs(forward, low, x, start, end):
                _pairs(forward, low, start, end, x, x + LANES)
    else:
        _pairs(forward, low, start, end, 0, width)
    scale = np.float32(max(width - 1, 1))
    for x in range(width):
        step = np.float32(np.int32(min(found[x], last) - low[x]))  # 0 or 1
        high = end[x] if step > ZERO else start[x]
        back = np.float32(np.int32(low[x])) + (np.float32(x) - start[x]) / (high - start[x] + EPSILON) * step
        grid[x] = back / scale * TWO - ONE


@kernel
def _pairs(forward, low, start, end, first, stop):
    last = np.uint32(len(forward) - 1)
    for x in range(first, stop):
        start[x] = forward[low[x]]
    for x in range(first, stop):
        end[x] = forward[min(low[x] + np.uint32(1), last)]


@kernel
def _find_in_unsorted(forward, smallest, found):  # (W), and two to be written
    """What the binary search of `monobw` finds for each column: the first that lands there or beyond.

    Two pointers that only advance find it in fewer steps. Where forward falls they differ: the result depends on the
    search, so it is done as torch does it.
    """
    width = len(forward)
    least = forward[width - 1]
    for x in range(width - 1, -1, -1):  # of all columns from x on
        least = min(least, forward[x])
        smallest[x] = least
    first = after = 0
    for x in range(width):
        place = np.float32(x)
        while first < width and forward[np.uint32(first)] < place:
            first += 1
        while after < width and smallest[np.uint32(after)] < place:
            after += 1
        found[x] = first if first == after else _search(forward, place)


@kernel
def _search(forward, place):
    start, end = 0, len(forward)
    while start < end:
        middle = start + ((end - start) >> 1)
        if forward[middle] >= place:
            end = middle
        else:
            start = middle + 1
    return start


@kernel
def _sample_rows(frames, grid, eyes, holes, least, first, end, begin, stop):  # rows [begin, stop) of all frames
    height, width = grid.shape[1:]
    last = np.float32(width - 1)
    columns, weights, slow = np.empty(width, np.uint32), np.empty(width, np.float32), np.empty(width, np.bool_)
    for row in range(begin, stop):
        b, y = row // height, row % height
        positions, hole = grid[b, y], holes[b, y]
        for x in range(width):
            position = (positions[x] + ONE) / TWO * last
            position = max(position if position < last else last, ZERO)  # also of nan, which as an index is anything
            columns[x] = np.uint32(position)
            weights[x] = position - np.float32(columns[x])
        rows, out = frames[b, :, y], eyes[b, :, y]
        if has_lanes() and width >= WINDOW:
            for block in range(0, width, LANES):
                x = min(block, width - LANES)
                if not blends(rows, columns, weights, x, out):
                    _blend(rows, columns, weights, out, x, x + LANES)
        else:
            _blend(rows, columns, weights, out, 0, width)
        _mark(positions, slow, hole, least, first, end)


@kernel
def _blend(rows, columns, weights, out, first, stop):  # (C W), (W), (W), (C W) to be written
    width = rows.shape[1]
    for c in range(len(rows)):
        source, eye = rows[c], out[c]
        for x in range(first, stop):
            low = columns[x]
            high = min(low + np.uint32(1), np.uint32(width - 1))
            eye[x] = source[low] * (ONE - weights[x]) + source[high] * weights[x]


@kernel
def _mark(positions, slow, hole, least, first, end):  # (W), (W) to work in, bool (W) to be written
    width, after = len(hole), positions[1:]
    slow[width - 1] = False
    for x in range(width - 1):
        slow[x] = after[x] - positions[x] < least
    hole[0] = slow[0]
    slow_after, hole_after = slow[1:], hole[1:]
    for x in range(width - 1):
        hole_after[x] = slow[x] | slow_after[x]
    hole[: min(first, width)] = False
    hole[max(end, 0) :] = False


@kernel
def _moved_rows(grid, moved, least, first, end):  # (N W), zeros (N W) to be written
    width = grid.shape[1]
    hole, slow, last = np.empty(width, np.bool_), np.empty(width, np.bool_), np.float32(width - 1)
    for row in range(len(grid)):
        _mark(grid[row], slow, hole, least, first, end)
        shift = 0
        for x in range(width - 1, -1, -1):
            if not hole[x]:
                continue
            if x == width - 1 or not hole[x + 1]:
                shift = int(np.floor((grid[row, x] + ONE) / TWO * last + HALF)) - x
            if 0 <= x + shift < width:
                moved[row, x + shift] = True
