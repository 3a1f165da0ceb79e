"""Hole areas of many records, measured in background threads: first the records on screen, then all others."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import numpy as np

from tools.cli.program import is_of_file

THREADS = 4  # records that are measured at the same time


class HoleAreas:
    """The share of hole pixels of each of `count` records, as far as it is known; `measure` computes one.

    A record that cannot be read (UserError, OSError) has no area; the page shows the reason when the record is
    opened. Any other exception is a bug or a shortage: its traceback is logged and `failed` is set.
    """

    def __init__(self, measure: Callable[[int], float], count: int):
        self.areas = np.full(count, np.nan)  # float64 (N) in [0, 1]
        self.begun, self.done = np.zeros(count, bool), np.zeros(count, bool)
        self.measure = measure
        self.failed = False
        self.wanted: deque[int] = deque()
        self.rest: Iterator[int] = iter(())
        self.asked_all = False
        self.changed = threading.Condition()
        for _ in range(THREADS):
            threading.Thread(target=self._work, daemon=True).start()

    def ask(self, numbers: Iterable[int]) -> None:
        """Measure these records next."""
        with self.changed:
            self.wanted = deque(numbers)
            self.changed.notify_all()

    def ask_all(self) -> None:
        """Measure all records."""
        with self.changed:
            if not self.asked_all:
                self.asked_all, self.rest = True, iter(range(len(self.begun)))
                self.changed.notify_all()

    def _begin(self) -> int | None:
        """The next record that no thread has begun to measure."""
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
            self._measure(number)
            self.done[number] = True

    def _measure(self, number: int) -> None:
        try:
            self.areas[number] = self.measure(number)
        except Exception as error:
            if is_of_file(error):
                return  # the record cannot be read
            # a bug or a shortage; the thread continues, so that the other records are measured
            logging.exception("measuring the hole area of record %d failed", number)
            self.failed = True
