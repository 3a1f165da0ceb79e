"""Signals that ask a run to stop: the flag is polled where stopping is safe."""

import signal
import time

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # schedulers, people, Slurm before its time limit
PATIENCE = 2.0  # seconds in which another SIGINT is the same Ctrl-C: torchrun passes on what the terminal sent already


class Stop:
    """Remembers the first signal; a second Ctrl-C ends at once, as people expect."""

    def __init__(self):
        self.name, self.since = "", 0.0
        for number in SIGNALS:
            signal.signal(number, self._remember)

    def _remember(self, number, _frame) -> None:
        if self.name and number == signal.SIGINT and time.monotonic() - self.since > PATIENCE:
            raise KeyboardInterrupt
        if not self.name:
            self.name, self.since = signal.Signals(number).name, time.monotonic()
