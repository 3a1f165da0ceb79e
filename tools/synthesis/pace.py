"""How far a conversion is and how long it takes."""

import tempfile
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from pack.video.output.encoder import Encoding
from pack.video.output.parts import Parts
from pack.video.shot_reader import Shot, Timed
from tools import cli
from tools.synthesis.conversion import Converter

TRIAL = 12  # frames of which a trial before the conversion consists: two passes of the queue
BRIEF = 60  # seconds: what takes less is not told exactly, and not measured a second time
FIRST = 48  # frames after which the time is estimated again: three windows of depth


def trial(
    converter: Converter, shots: Generator[Shot, None, None], encoding: Encoding, fps: float, frames: int
) -> float:
    """Frames a second that a conversion of so many frames (0: unknown) will make, by its first ones, which are dropped.

    The first time that a network or a kernel runs takes longer, so the trial is repeated, unless even at that rate
    all frames take less than BRIEF seconds: then it is what the conversion makes at least.
    """
    with closing(shots):
        pictures = chain.from_iterable(shots)
        held = list(islice(pictures, 1))
        started = time.monotonic()
        held += islice(pictures, TRIAL - 1)
        reading = (time.monotonic() - started) / max(len(held) - 1, 1)
    for _ in range(2):
        rate = 1 / (reading + max(_seconds(converter, held, encoding, fps), 1e-9) / max(len(held), 1))
        if 0 < frames < BRIEF * rate:
            break
    return rate


def _seconds(converter: Converter, pictures: list[Timed], encoding: Encoding, fps: float) -> float:
    """How long the conversion of these pictures takes."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Parts(Path(folder) / "trial", {}, encoding, fps) as parts:
        replace(converter, errors=None).convert(parts, [Shot(iter(pictures))], 0, lambda _: None)
    return time.monotonic() - started


def expectation(rate: float, frames: int) -> str:
    """A line that says how long so many frames (0: unknown) take at this rate, or at a better one."""
    if 0 < frames < BRIEF * rate:
        return "  less than a minute left"
    left = f"about {cli.duration(frames / rate)} left" if frames else "the film does not say how long it is"
    return f"  {rate:.2f} frames/s: {left}"


class Pace:
    """The progress of a conversion of `total` frames (0: unknown), and after FIRST of them the time that is left."""

    def __init__(self, total: int, label: str):
        self.total, self.label = total, label
        self.progress: cli.Progress | None = None

    def __enter__(self) -> "Pace":
        return self

    def __exit__(self, *_: object) -> None:
        if self.progress:
            self.progress.close()

    def show(self, frames: int) -> None:
        """Report that so many frames are done."""
        if self.progress is None:  # time to read what was converted earlier does not count
            self.progress = cli.Progress(self.total, "frames", self.label, frames, every=10)
            self.first, self.started = frames, time.monotonic()
        self.progress.update(frames)
        if frames == self.first + FIRST < self.total:
            rate = FIRST / max(time.monotonic() - self.started, 1e-9)
            self.progress.close()
            print(expectation(rate, self.total - frames), flush=True)
