"""Hole areas of many records, measured in the background: first of those that are looked at, then of all."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np

READERS = 4  # records that are measured at the same time


class HoleAreas:
    """The share of hidden pixels of each of `count` records as far as it is known; `measure` finds one.

    What `measure` raises for a record that cannot be read is for those who look at the record: here it has no area.
    """

    def __init__(self, measure: Callable[[int], float], count: int):
        self.areas = np.full(count, np.nan)  # float64 (N) in [0, 1]
        self.done = np.zeros(count, bool)
        self.measure = measure
        self.wanted: deque[int] = deque()
        self.rest: Iterator[int] = iter(())
        self.asked_all = False
        self.changed = threading.Condition()
        for _ in range(READERS):
            threading.Thread(target=self._work, daemon=True).start()

    def ask(self, numbers: Iterable[int]) -> None:
        """Measure these next."""
        with self.changed:
            self.wanted = deque(number for number in numbers if not self.done[number])
            self.changed.notify_all()

    def ask_all(self) -> None:
        """Measure all."""
        with self.changed:
            if not self.asked_all:
                self.asked_all, self.rest = True, iter(range(len(self.done)))
                self.changed.notify_all()

    def _next(self) -> int | None:
        return self.wanted.popleft() if self.wanted else next((n for n in self.rest if not self.done[n]), None)

    def _work(self) -> None:
        while True:
            with self.changed:
                while (number := self._next()) is None:
                    self.changed.wait()
            with contextlib.suppress(ValueError, OSError, SyntaxError):  # what reading and Pillow raise
                self.areas[number] = self.measure(number)
            self.done[number] = True
