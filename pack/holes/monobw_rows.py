"""The warp of `monobw`, compiled by numba row by row: the same positions and masks as with tensors, faster on a CPU.

Arithmetic is float32, in the order of the operations of `monobw`, so that every rounding of a position is the same.
"""

import numpy as np

from pack.kernels.compiled import kernel, share

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
    last = np.float32(max(width - 1, 1))
    forward, smallest = np.empty(width, np.float32), np.empty(width, np.float32)
    target, folded, found = np.empty(width, np.float32), np.empty(width, np.bool_), np.empty(width, np.uint32)
    for row in range(len(depth)):
        for x in range(width):
            target[x] = np.float32(x) + (depth[row, x] - convergence) * slope * ramp[x]
        _unfold(target, forward, folded, taps)
        _invert(forward, smallest, found, target)
        for x in range(width):
            grid[row, x] = target[x] / last * TWO - ONE


@kernel
def _falls(values):  # (W)
    """How many values are smaller than the one before; most rows have none, and their loops are short."""
    count = np.int32(0)
    for x in range(1, len(values)):
        count += np.int32(values[x] < values[x - 1])
    return count


@kernel
def _unfold(target, forward, folded, taps):  # (W), and three to be written or worked in
    """Forward becomes the running maximum of target, smoothed around the columns where the two differ."""
    forward[:] = target
    if not _falls(target):
        return
    width, reach = len(target), len(taps) // 2
    most = target[0]
    for x in range(width):
        most = max(most, target[x])
        forward[x] = most
        folded[x] = most != target[x]
    near = -WIDENED - 1  # the last fold up to WIDENED columns ahead
    for x in range(min(WIDENED, width)):
        near = x if folded[x] else near
    for x in range(width):
        if x + WIDENED < width and folded[x + WIDENED]:
            near = x + WIDENED
        if x - near <= WIDENED:
            total = ZERO
            for i in range(len(taps)):
                total += forward[min(max(x + i - reach, 0), width - 1)] * taps[i]
            target[x] = total
        else:
            target[x] = forward[x]
    forward[:] = target


@kernel
def _invert(forward, smallest, found, back):  # (W), and three to be written or worked in
    """Back becomes the inverse map of forward, which may fall where it was smoothed."""
    width = len(forward)
    if _falls(forward):
        _find_in_unsorted(forward, smallest, found)
    else:
        first = np.uint32(0)
        for x in range(width):
            while first < width and forward[first] < np.float32(x):
                first += np.uint32(1)
            found[x] = first
    for x in range(width):
        high = min(found[x], np.uint32(width - 1))
        step = np.uint32(found[x] > 0) & np.uint32(found[x] < width)  # 0 or 1
        low = high - step
        start, end = forward[low], forward[high]
        back[x] = np.float32(low) + (np.float32(x) - start) / (end - start + EPSILON) * np.float32(step)


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
    columns, weights = np.empty(width, np.uint32), np.empty(width, np.float32)
    for row in range(begin, stop):
        b, y = row // height, row % height
        positions, hole = grid[b, y], holes[b, y]
        for x in range(width):
            position = min(max((positions[x] + ONE) / TWO * last, ZERO), last)
            columns[x] = np.uint32(position)
            weights[x] = position - np.float32(columns[x])
        for c in range(frames.shape[1]):
            source, eye = frames[b, c, y], eyes[b, c, y]
            for x in range(width):
                low = columns[x]
                high = min(low + np.uint32(1), np.uint32(width - 1))
                eye[x] = source[low] * (ONE - weights[x]) + source[high] * weights[x]
        _mark(positions, hole, least, first, end)


@kernel
def _mark(positions, hole, least, first, end):  # (W), bool (W) to be written
    hole[:] = False
    for x in range(max(first - 1, 0), min(end, len(hole) - 1)):
        if positions[x + 1] - positions[x] < least:
            hole[x] = hole[x + 1] = True
    hole[: min(first, len(hole))] = False
    hole[max(end, 0) :] = False


@kernel
def _moved_rows(grid, moved, least, first, end):  # (N W), zeros (N W) to be written
    width = grid.shape[1]
    hole, last = np.empty(width, np.bool_), np.float32(width - 1)
    for row in range(len(grid)):
        _mark(grid[row], hole, least, first, end)
        shift = 0
        for x in range(width - 1, -1, -1):
            if not hole[x]:
                continue
            if x == width - 1 or not hole[x + 1]:
                shift = int(np.floor((grid[row, x] + ONE) / TWO * last + HALF)) - x
            if 0 <= x + shift < width:
                moved[row, x + shift] = True
