"""Signals that stop a run: they set a flag, which the run polls where it can stop safely."""

import signal
import time
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # from schedulers, Ctrl-C, Slurm before its time limit
SAME_CTRL_C = 2.0  # seconds; a second SIGINT within them comes from the same Ctrl-C, by torchrun and the terminal


class Stop:
    """Remembers the name of the first signal, "" before it; a second Ctrl-C raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.name, self.since = "", 0.0
        for number in SIGNALS:
            signal.signal(number, self._remember)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        if self.name and number == signal.SIGINT and time.monotonic() - self.since > SAME_CTRL_C:
            raise KeyboardInterrupt
        if not self.name:
            self.name, self.since = signal.Signals(number).name, time.monotonic()

    def wait(self, seconds: float) -> bool:
        """Whether a signal has come, or comes within so many seconds."""
        end = time.monotonic() + seconds
        while not self.name and time.monotonic() < end:
            time.sleep(0.02)
        return bool(self.name)
