"""Whether holes end where the picture has an edge, as they do at the outline of a true foreground.

An estimated depth may step beside an object instead of at its outline. Then the object's edge lies inside the hole, and
a fill that goes on with the surface beside the hole, as is right in a true second eye, is judged wrong.
"""

import numpy as np

LEAST_WIDTH = 6  # of a hole's run in a row, pixels: a narrower one has no inside
GAP = 1  # pixels beside an edge that are left out, because edges of films are soft
SIDE = 3  # pixels averaged on either side of it
REACH = 2  # how far from the end of a run its edge may lie, pixels
FRAMES = 4  # every fourth frame is looked at
MOST_CROSSED = 0.1  # share of a clip's hole pixels that may be crossed where evaluation calls its holes aligned


def crossed_share(frames: np.ndarray, holes: np.ndarray) -> float:  # uint8 (T H W 3), bool (T H W)
    """The share of hole pixels whose run in its row holds a stronger edge of the picture than at both of its ends.

    Runs of fewer than 6 pixels are not counted, nor those that touch the frame's sides; without any other the share is
    0. An edge is the difference of the mean colours of 3 pixels on either side.
    """
    frames, holes = frames[::FRAMES], holes[::FRAMES]
    steps = edges(frames)
    frame, row, start, end = runs(holes)
    margin = GAP + SIDE + REACH
    counted = (end - start >= LEAST_WIDTH) & (start >= margin) & (end <= holes.shape[2] - margin)
    frame, row, start, end = (values[counted] for values in (frame, row, start, end))
    if not len(start):
        return 0.0
    around = np.arange(-REACH, REACH + 1)
    at_ends = [steps[frame[:, None], row[:, None], place[:, None] + around].max(1) for place in (start, end)]
    # the edges inside are those whose sides do not reach over an end
    first, last = start + REACH + GAP + 1, end - REACH - GAP
    offset = (frame * holes.shape[1] + row) * holes.shape[2]
    has_inside = first < last
    inside = np.zeros(len(start), steps.dtype)
    if has_inside.any():
        pairs = np.stack([offset + first, offset + last], 1)[has_inside].ravel()
        inside[has_inside] = np.maximum.reduceat(steps.ravel(), pairs)[::2]
    widths = end - start
    return float(widths[inside > np.maximum(*at_ends)].sum() / widths.sum())


def edges(frames: np.ndarray) -> np.ndarray:  # uint8 (T H W 3) -> float32 (T H W), 0 near the frame's sides
    """How much the colour changes between each pixel's left neighbour and itself, 0 to 255."""
    sums = np.cumsum(frames, 2, dtype=np.int32)  # up to and with each column
    width, reach = frames.shape[2], GAP + SIDE
    found = np.zeros(frames.shape[:3], np.float32)
    if width <= 2 * reach + 1:
        return found
    x = np.arange(reach + 1, width - reach)
    left = sums[:, :, x - 1 - GAP] - sums[:, :, x - 1 - reach]
    right = sums[:, :, x + reach - 1] - sums[:, :, x - 1 + GAP]
    found[:, :, x] = np.abs(right - left).mean(-1) / SIDE
    return found


def runs(holes: np.ndarray) -> tuple[np.ndarray, ...]:  # bool (T H W) -> 4 x int (N)
    """Frame, row, first column and the column after the last of each run of hole pixels."""
    changes = np.diff(holes.view(np.int8), axis=2, prepend=np.int8(0), append=np.int8(0))
    frame, row, start = np.nonzero(changes == 1)
    return frame, row, start, np.nonzero(changes == -1)[2]
