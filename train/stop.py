"""Signals that ask a run to stop: the flag is polled where stopping is safe."""

import signal

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # schedulers, people, Slurm before its time limit


class Stop:
    """Remembers the first signal; a second SIGINT ends at once, as people expect."""

    def __init__(self):
        self.name = ""
        for number in SIGNALS:
            signal.signal(number, self._remember)

    def _remember(self, number, _frame) -> None:
        if self.name and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name
