"""A progress line for long work, and readable durations."""

import os
import sys
import time
from typing import TextIO


class Progress:
    """A progress line: how much is done, how fast it goes and how much time is left.

    On a terminal the line is rewritten in place; in a log a plain line appears every `every` seconds.
    """

    def __init__(
        self, total: int, unit: str, label: str = "", done: int = 0, every: float = 30.0, out: TextIO | None = None
    ):
        """Progress of `total` units (0: unknown), of which `done` were done before the start."""
        self.total, self.unit, self.label, self.every = total, unit, label, every
        self.out = out or sys.stderr
        self.live = self.out.isatty()
        self.first, self.done = done, done
        self.started = self.shown = time.monotonic()

    def update(self, done: int, note: str = "") -> None:
        """Report that `done` of the total are done; `note` is added to the end of the line."""
        self.done = done
        now = time.monotonic()
        if now - self.shown < (0.1 if self.live else self.every):
            return
        self.shown = now
        self._write(self.text(now - self.started, note))

    def text(self, seconds: float, note: str = "") -> str:
        """The line after `seconds` of work."""
        rate = (self.done - self.first) / max(seconds, 1e-9)
        total = self.total if self.done <= self.total else 0  # that was an estimate
        left = f", {duration((total - self.done) / rate)} left" if rate > 0 and total else ""
        of_total = f"/{total}" if total else ""
        pace = f"{1 / rate:.0f} s each" if 0 < rate < 0.1 else f"{rate:.2f}/s"
        return f"{self.label} {self.done}{of_total} {self.unit}, {pace}{left} {note}".strip()

    def _write(self, line: str) -> None:
        if self.live:
            width = os.get_terminal_size(self.out.fileno()).columns
            self.out.write("\r\x1b[K" + line[: width - 1])
        else:
            self.out.write(line + "\n")
        self.out.flush()

    def close(self) -> None:
        """Clear the line on a terminal, so that it does not mix with what is printed next."""
        if self.live:
            self.out.write("\r\x1b[K")
            self.out.flush()


def duration(seconds: float) -> str:
    """A duration in its two largest units: 42s, 3m10s, 2h05m, 4d03h."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    if seconds < 86400:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    return f"{seconds // 86400}d{seconds % 86400 // 3600:02d}h"
