"""Whole frames from interlaced and telecined film.

Interlaced frames, which their codec flags, are deinterlaced by FFmpeg's bwdif, one frame for each. Telecined film (24
frames a second of which 2 in 5 of its 30 are woven of two) gets its own frames back by fieldmatch; one frame of each
cycle of 5, the one that repeats another, is dropped. H height, W width.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.filter import Graph

from pack.video.container import frame_rate, open_video
from pack.video.decode import Decoded, decode
from pack.video.joined import read_parts

Deinterlace = Literal["auto", "on", "off"]
FieldOrder = Literal["tff", "bff"]
Timed = tuple[Fraction, Decoded]

CYCLE = 5  # frames of telecined video, made of 4 of the film
ORDERS: dict[int, FieldOrder] = {2: "tff", 3: "bff"}  # by frames of a cycle between the repeated fields
LOOK = 600  # frames at the beginning of a film in which the pattern of telecine is looked for
CYCLES = 8  # of moving pictures, enough to decide
REPEATED = 0.35  # of the usual difference of two frames: below it a field or a frame is repeated
LONGEST = (CYCLE - Fraction(1, 4)) / 30  # seconds from the first frame of a cycle to the last; of film it takes 5/30
STILL = 0.7  # levels of mean difference, up to which nothing moves


def progressive(frames: Iterable[Timed], deinterlace: Deinterlace, telecine: FieldOrder | None) -> Iterator[Timed]:
    """The frames with (seconds, Decoded), deinterlaced as asked; those of telecined film are fewer.

    "auto" deinterlaces frames that are flagged as interlaced, "on" all. Neighbours that are looked at are always of the
    same size and of the same stretch between two damages.
    """
    weaver, shape = None, None
    for seconds, one in frames:
        now = (one.frame.width, one.frame.height, one.frame.format.name, one.stretch)
        if weaver is not None and shape != now:
            yield from weaver.finish()
            weaver = None
        shape = now
        wanted = deinterlace == "on" or (deinterlace == "auto" and (telecine or one.frame.interlaced_frame))
        if weaver is None and wanted and min(one.frame.width, one.frame.height) >= 4:  # bwdif's least size
            every = deinterlace == "on"
            weaver = _Decimate(_Filter(one.frame, telecine)) if telecine else _Filter(one.frame, every=every)
        if weaver is None:
            yield seconds, one
        else:
            yield from weaver.push(seconds, one)
    if weaver is not None:
        yield from weaver.finish()


class _Filter:
    """Sends frames of one size through FFmpeg's filters, each with its seconds and pixel aspect."""

    def __init__(self, frame: av.VideoFrame, telecine: FieldOrder | None = None, every: bool = False):
        self.graph, self.waiting, self.number = Graph(), {}, 0
        self.graph.threads = 1  # videos are packed side by side instead
        names = [("fieldmatch", f"order={telecine}:combmatch=full")] if telecine else []
        names.append(("bwdif", f"mode=send_frame:parity=auto:deint={'all' if every else 'interlaced'}"))
        source = self.graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1)
        )
        filters = [self.graph.add(name, options) for name, options in names]
        self.graph.link_nodes(source, *filters, self.graph.add("buffersink")).configure()

    def push(self, seconds: Fraction, one: Decoded) -> Iterator[Timed]:
        self.waiting[self.number] = seconds, one
        one.frame.pts, one.frame.time_base = self.number, Fraction(1)
        self.number += 1
        self.graph.push(one.frame)
        yield from self._pulled()

    def finish(self) -> Iterator[Timed]:
        self.graph.push(None)
        yield from self._pulled()

    def _pulled(self):
        while True:
            try:
                frame = self.graph.vpull()
            except (av.BlockingIOError, EOFError):
                return
            number = round(frame.pts * frame.time_base)
            seconds, one = self.waiting.pop(number)
            yield seconds, replace(one, frame=frame)


class _Decimate:
    """Drops of each cycle of frames the one that repeats the frame before it, and spreads the others evenly in time."""

    def __init__(self, source: _Filter):
        self.source, self.cycle, self.last, self.phase = source, [], None, 0

    def push(self, seconds: Fraction, one: Decoded) -> Iterator[Timed]:
        for timed in self.source.push(seconds, one):
            yield from self._add(*timed)

    def finish(self) -> Iterator[Timed]:
        for timed in self.source.finish():
            yield from self._add(*timed)
        for seconds, one, _ in self.cycle:
            yield seconds, one

    def _add(self, seconds, one):
        small = samples(one.frame)
        change = np.inf if self.last is None else float(np.abs(small - self.last).mean())
        self.last = small
        self.cycle.append((seconds, one, change))
        if len(self.cycle) < CYCLE:
            return
        cycle, self.cycle = self.cycle, []
        first, step = cycle[0][0], (cycle[-1][0] - cycle[0][0]) / (CYCLE - 1)
        dropped = self._repeated([change for *_, change in cycle])
        if dropped is None or cycle[-1][0] - first > LONGEST:
            yield from ((seconds, one) for seconds, one, _ in cycle)
            return
        kept = [one for number, (_, one, _) in enumerate(cycle) if number != dropped]
        for number, one in enumerate(kept):
            yield first + number * step * CYCLE / len(kept), one

    def _repeated(self, changes):
        """Which frame of a cycle repeats the one before it; None where each is new, as in a part that is video."""
        usual, least = float(np.median(changes)), int(np.argmin(changes))
        if changes[least] <= REPEATED * usual:
            self.phase = least
        elif changes[least] > 2 * REPEATED * usual and usual > STILL:
            return None
        return self.phase


def samples(frame: av.VideoFrame) -> np.ndarray:  # -> float32 (h 2 w): lines of both fields
    """Luma of a few pairs of lines, at which fields and frames can be compared."""
    grey = frame if frame.format.name in ("yuv420p", "yuv422p", "yuv444p", "gray") else frame.reformat(format="gray")
    plane = grey.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
        : plane.height // 2 * 2, : plane.width : 2
    ]
    return rows.reshape(-1, 2, rows.shape[1])[::2].astype(np.float32)


def find_telecine(path: str | Path, start: int = 0) -> FieldOrder | None:
    """The order of fields of a film that was telecined, by the fields that repeat at its beginning; else None.

    A recording is read from byte `start` on. Of 5 frames one repeats the upper field of the frame before it, and
    another the lower one, 2 or 3 frames later. Only video of about 30 frames a second is looked at.
    """
    with open_video(path, start) as (container, stream):
        # The average is lower where parts of the film have repeat flags; the codec's rate counts shown frames.
        rates = (frame_rate(stream), stream.codec_context.framerate)
        if all(abs((rate or 0) - 30) > Fraction(1, 2) for rate in rates):
            return None
        with closing(decode(path, container, stream)) as decoded:
            return _Pattern().read((seconds, samples(one.frame)) for seconds, one in decoded)


def same_frames(path: str | Path, one: Deinterlace, other: Deinterlace) -> bool:
    """Whether a video has the same frames by two ways; all of it is decoded, unless it is found to be interlaced."""
    if one == other:
        return True
    if "on" in (one, other):
        return False
    with closing(read_parts(path)) as parts:
        return not any(find_telecine(path, part.start) or _has_interlaced(path, part) for part in parts)


def _has_interlaced(path, part):
    with closing(decode(path, part.container, part.stream, part.packets)) as decoded:
        return any(frame.frame.interlaced_frame for _, frame in decoded)


@dataclass
class _Pattern:
    """Evidence for and against telecine."""

    moving: int = 0  # cycles
    orders: list[FieldOrder] = field(default_factory=list)  # of the cycles that have the pattern
    changes: list[np.ndarray] = field(default_factory=list)  # of both fields, of the current cycle
    seconds: list[Fraction] = field(default_factory=list)  # of its frames

    def read(self, frames: Iterable[tuple[Fraction, np.ndarray]]) -> FieldOrder | None:
        for number, ((_, before), (seconds, after)) in enumerate(pairwise(frames)):
            self.changes.append(np.abs(after - before).mean((0, 2)) if after.shape == before.shape else np.zeros(2))
            self.seconds.append(seconds)
            if len(self.changes) == CYCLE:
                if seconds - self.seconds[0] <= LONGEST:  # else film with repeat flags, which says nothing of the rest
                    self._end_cycle(np.array(self.changes))
                self.changes, self.seconds = [], []
            if self.moving == CYCLES or number == LOOK:
                break
        for order in ("tff", "bff"):
            if self.moving >= 3 and self.orders.count(order) >= 0.7 * self.moving:
                return order
        return None

    def _end_cycle(self, changes: np.ndarray) -> None:  # (CYCLE 2)
        usual = np.median(changes, 0)
        if usual.min() <= STILL:
            return
        self.moving += 1
        if (changes.min(0) <= REPEATED * usual).all():
            upper, lower = changes.argmin(0)
            if order := ORDERS.get(int(lower - upper) % CYCLE):
                self.orders.append(order)
