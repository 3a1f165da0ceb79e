"""Hole areas of many records, measured in the background: first of those that are looked at, then of all."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import numpy as np

READERS = 4  # records that are measured at the same time


class HoleAreas:
    """The share of hidden pixels of each of `count` records as far as it is known; `measure` finds one.

    What `measure` raises for a record that cannot be read is for those who look at the record: here it has no area.
    """

    def __init__(self, measure: Callable[[int], float], count: int):
        self.areas = np.full(count, np.nan)  # float64 (N) in [0, 1]
        self.begun, self.done = np.zeros(count, bool), np.zeros(count, bool)
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
            self.wanted = deque(numbers)
            self.changed.notify_all()

    def ask_all(self) -> None:
        """Measure all."""
        with self.changed:
            if not self.asked_all:
                self.asked_all, self.rest = True, iter(range(len(self.begun)))
                self.changed.notify_all()

    def _begin(self) -> int | None:
        """The next record that nobody has begun to measure."""
        wanted = (self.wanted.popleft() for _ in range(len(self.wanted)))
        number = next((n for n in chain(wanted, self.rest) if not self.begun[n]), None)
        if number is not None:
            self.begun[number] = True
        return number

    def _work(self) -> None:
        while True:
            with self.changed:
                while (number := self._begin()) is None:
                    self.changed.wait()
            with contextlib.suppress(ValueError, OSError, SyntaxError):  # what reading and Pillow raise
                self.areas[number] = self.measure(number)
            self.done[number] = True
