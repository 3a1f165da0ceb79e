"""Where a recording lost packets of its picture, by the continuity counters of MPEG-TS.

Reference: ISO/IEC 13818-1, 2.4.3.3 (counters, duplicates) and 2.4.3.4 (adaptation field).
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

COUNTER, PAYLOAD, ADAPTATION, BEGINS, ERROR = 0x0F, 0x10, 0x20, 0x40, 0x80  # bits of bytes 3, 3, 3, 1 and 1
DISCONTINUITY = 0x80  # of byte 5


@dataclass(frozen=True)
class Loss:
    """Packets that are missing before one."""

    place: int  # byte of the packet behind them
    inside: bool  # whether bytes of a picture are missing, else only whole pictures may be


@dataclass
class Continuity:
    """The packets of one stream, block by block."""

    identifier: int
    losses: deque[Loss] = field(default_factory=deque)  # the reader takes those that it has looked at
    last: np.ndarray | None = None  # the packet before, uint8 (188)
    padded: bool = True  # whether the last payload ends as that of a whole picture does

    def add(self, rows: np.ndarray, places: np.ndarray) -> None:  # (N 188) uint8, (N) bytes
        """Read the next packets of the stream."""
        if not len(rows):
            return
        before = np.concatenate([rows[:1] if self.last is None else self.last[None], rows[:-1]])
        step = ((rows[:, 3] & PAYLOAD) > 0).astype(np.uint8)
        allowed = (rows[:, 3] & ADAPTATION > 0) & (rows[:, 4] > 0) & (rows[:, 5] & DISCONTINUITY > 0)
        wrong = ~allowed & (rows[:, 3] & COUNTER != (before[:, 3] + step) & COUNTER)
        if self.last is None:
            wrong[0] = False
        for number in np.flatnonzero(wrong | (rows[:, 1] & ERROR > 0)):
            row = rows[number]
            if row[1] & ERROR or not _repeats(row, before[number]):
                whole = bool(row[1] & BEGINS) and not row[1] & ERROR and self._was_padded(rows[:number])
                self.losses.append(Loss(int(places[number]), not whole))
        self.padded = self._was_padded(rows)
        self.last = rows[-1].copy()

    def doubt(self, place: int) -> None:
        """What begins a stretch of other bytes may have hit the packet at this place, which came last."""
        self.losses.append(Loss(place, True))

    def _was_padded(self, rows: np.ndarray) -> bool:
        """Whether the last payload of these packets, or of those before, is padded: a picture seldom fills its last."""
        payloads = np.flatnonzero(rows[:, 3] & PAYLOAD)
        return stuffing(rows[payloads[-1]]) > 0 if len(payloads) else self.padded


def _repeats(row: np.ndarray, before: np.ndarray) -> bool:
    """Whether a packet is the one before once more, which may have another clock reference."""
    start = 12 if row[3] & ADAPTATION and row[4] >= 7 else 4
    return bool(row[3] == before[3] and row[3] & PAYLOAD and (row[start:] == before[start:]).all())


def stuffing(row: np.ndarray) -> int:
    """Bytes of the adaptation field of a packet that say nothing."""
    if not row[3] & ADAPTATION:
        return 0
    size, flags = int(row[4]), int(row[5])
    if size == 0:
        return 1
    used = 1 + 6 * bool(flags & 0x10) + 6 * bool(flags & 0x08) + bool(flags & 0x04)
    for flag in (0x02, 0x01):  # private data, extension
        if flags & flag and 5 + used < len(row):
            used += 1 + int(row[5 + used])
    return max(size - used, 0)
