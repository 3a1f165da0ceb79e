"""Finds where one shot of a video ends and the next begins.

Hard cuts are found. A dissolve, a fade or a slow wipe changes too little from frame to frame and is not; nor is a cut
between pictures that are both nearly black, nor a shot of up to 3 frames after which the previous shot continues.
H height, W width.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

Stamp = TypeVar("Stamp")

# Checked by eye on 15,000 frames of animated film and of streets: of 138 detected cuts 134 were cuts, the rest sudden
# motion and fast wipes; no missed cut was found. The weakest cut had a difference of 0.036, or a ratio of 4.2.
LOOK = 4  # frames looked at before and behind a cut
MIN_DIFFERENCE = 0.02
MIN_RATIO = 3.5
NOISE = 0.002  # difference of neighbouring frames without motion

ROWS, COLUMNS = 27, 48  # cells of a frame's thumbnail
SAMPLES = 4  # samples along each side of a cell
REACH = 2  # cells that motion may go between two frames


def mark_cuts(frames: Iterable[tuple[Stamp, np.ndarray]]) -> Iterator[tuple[Stamp, np.ndarray, bool]]:
    """Each (stamp, frame (H W 3) uint8), and whether the frame begins a new shot; LOOK frames are held back."""
    before = deque(maxlen=LOOK)  # thumbnails of this shot
    held = deque()  # (stamp, frame, thumbnail)
    for stamp, frame in frames:
        held.append((stamp, frame, thumbnail(frame)))
        if len(held) == LOOK:
            yield _release(before, held)
    while held:
        yield _release(before, held)


def _release(before: deque, held: deque) -> tuple:
    cut = is_cut(before, [small for _, _, small in held])
    if cut:
        before.clear()
    stamp, frame, small = held.popleft()
    before.append(small)
    return stamp, frame, cut


def is_cut(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> bool:
    """Whether a shot ends between these thumbnails: each one before differs from each one after by more than motion.

    A flash passes, as a frame behind it is like one before it. The motion of both sides enters by its geometric mean:
    one calm side is enough to detect a cut, since cuts often lead into or out of action.
    """
    if not before or difference(before[-1], after[0]) < MIN_DIFFERENCE:
        return False
    sides = [max(difference(a, b) for a, b in pairwise(side)) for side in (before, after) if len(side) > 1]
    motion = float(np.exp(np.mean(np.log(np.array(sides or [0.0]) + NOISE))))
    return all(difference(a, b) >= max(MIN_DIFFERENCE, MIN_RATIO * motion) for a in reversed(before) for b in after)


def thumbnail(frame: np.ndarray) -> np.ndarray:  # (H W 3) uint8 -> (ROWS COLUMNS 3) in [0, 1]
    """Mean colours of the cells of a frame, from a few samples of each."""
    height, width, _ = frame.shape
    y = (np.arange(ROWS * SAMPLES) * 2 + 1) * height // (2 * ROWS * SAMPLES)
    x = (np.arange(COLUMNS * SAMPLES) * 2 + 1) * width // (2 * COLUMNS * SAMPLES)
    samples = frame[y[:, None], x].reshape(ROWS, SAMPLES, COLUMNS, SAMPLES, 3)
    return samples.mean((1, 3), dtype=np.float32) / 255


def difference(a: np.ndarray, b: np.ndarray) -> float:  # two of (ROWS COLUMNS 3) in [0, 1]
    """Mean over the cells of how far each colour of `a` is from the nearest of its surroundings in `b`.

    Looking around forgives motion of up to REACH cells.
    """
    padded = np.pad(b, ((REACH, REACH), (REACH, REACH), (0, 0)), mode="edge")
    shifts = [(dy, dx) for dy in range(2 * REACH + 1) for dx in range(2 * REACH + 1)]
    distances = [np.abs(a - padded[dy : dy + ROWS, dx : dx + COLUMNS]).mean(-1) for dy, dx in shifts]
    return float(np.minimum.reduce(distances).mean())
