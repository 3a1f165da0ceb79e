"""How far a conversion is and how long it takes."""

import time

from tools import cli

FIRST = 48  # frames after which the time is estimated: three windows of depth


class Pace:
    """The progress of a conversion of `total` frames (0: unknown), and once the time that it will take."""

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
            print(f"  {rate:.2f} frames/s: about {cli.duration((self.total - frames) / rate)} left", flush=True)
