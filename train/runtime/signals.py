"""Signals that stop a run: they set a flag, which the run polls where it can stop safely."""

import signal
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tools.cli import UserError
from tools.cli.signals import handle

# from schedulers, Ctrl-C, Slurm before its time limit; Windows, where every program ends with one line, lacks the last
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))
PATIENCE = 15.0  # seconds that a wait may still last after a signal
SAME_CTRL_C = 2.0  # seconds; a second SIGINT within them comes from the same Ctrl-C, by torchrun and the terminal

Item = TypeVar("Item")


class Unanswered(UserError):
    """A signal came, and then what the run waited for did not."""


class Stop:
    """Remembers the name of the first signal, "" before it; a second Ctrl-C raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.name, self.since, self.awaited = "", 0.0, ""
        for number in SIGNALS:
            handle(number, self._remember)
        handle(signal.SIGALRM, self._give_up)

    def _remember(self, number: int) -> None:
        if self.name and number == signal.SIGINT and time.monotonic() - self.since > SAME_CTRL_C:
            raise KeyboardInterrupt
        if not self.name:
            self.name, self.since = signal.Signals(number).name, time.monotonic()
            if self.awaited:
                signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    def _give_up(self, _number: int) -> None:
        if self.awaited:
            raise Unanswered(
                f"stopped by {self.name} while waiting for {self.awaited}, which does not answer; continue with "
                f"--resume from the last checkpoint"
            )

    def bounded(self, items: Iterable[Item], source: str) -> Iterator[Item]:
        """The items of this source. Raises Unanswered where one does not come for PATIENCE seconds after a signal."""
        iterator = iter(items)
        while True:
            self.awaited = source
            if self.name:
                signal.setitimer(signal.ITIMER_REAL, PATIENCE)
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.awaited = ""
                if self.name:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            yield item

    def wait(self, seconds: float) -> bool:
        """Whether a signal has come, or comes within so many seconds."""
        end = time.monotonic() + seconds
        while not self.name and time.monotonic() < end:
            time.sleep(0.02)
        return bool(self.name)
