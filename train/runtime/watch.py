"""Ends waits for another process of the job that take too long, and names that process.

A collective operation waits in C++, where Python's signal handlers do not run, and neither gloo nor NCCL says whom they
wait for. So two threads watch: one publishes a heartbeat in the store of the job, the other ends the process with one
line when it has waited for too long, or when it was asked to stop while another process does not answer.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import time
import typing
from collections.abc import Iterator
from dataclasses import dataclass

import torch.distributed as dist

from tools.cli import duration
from tools.cli.program import rank_prefix, tell_torchrun
from train.runtime.flight import FlightRecorder
from train.runtime.signals import SAME_CTRL_C, SIGNALS

BEAT = 1.0  # seconds between heartbeats
TIMED_OUT = 2  # exit status after a wait that was too long
PATIENCE = 10.0  # seconds without a heartbeat after which a process does not answer


@dataclass(frozen=True)
class Beat:
    """The last heartbeat of a process."""

    number: int
    entered: int  # collective operations that it has entered
    since: float  # when this process first read it


class Watch:
    """The watch of one process, which runs from `start` to `close`. Only `waiting` is for the main thread."""

    def __init__(self, rank: int, world_size: int, timeout: float, recorder: FlightRecorder | None = None):
        """`timeout` is the longest wait for another process, in seconds."""
        self.recorder, self.operation = recorder, ""  # the operation under way
        self.rank, self.world_size, self.timeout = rank, world_size, timeout
        self.patience = min(PATIENCE, timeout / 3)
        self.entered, self.depth, self.since = 0, 0, 0.0  # collective operations, those under way, start of the wait
        self.signals: list[tuple[int, float]] = []  # number and time
        self.beats: dict[int, Beat] = {}  # of the other processes
        self.answered = 0.0  # when the store last answered, 0 before it is known
        self.looked = self.resumed = 0.0  # when the watch last looked, and did so after a pause
        self.closed = threading.Event()
        self.threads: list[threading.Thread] = []

    @contextlib.contextmanager
    def waiting(self, operation: str = "") -> Iterator[None]:
        """Inside the block the process may wait for others, in this operation."""
        self.operation = operation
        self.entered += 1
        self.depth += 1
        self.since = time.monotonic()
        try:
            yield
        finally:
            self.depth -= 1
            self.since = time.monotonic()

    def start(self) -> None:
        """Watch for signals and long waits; call it in the main thread."""
        self.wakeup, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        self._run(self._watch)

    def share(self, store: dist.Store) -> None:
        """Publish heartbeats in the store of the job, and read those of the others when they are needed."""
        self.answered = time.monotonic()
        others = {*range(self.world_size)} - {self.rank}
        self.beats = {rank: Beat(number=0, entered=0, since=self.answered) for rank in others}
        self._run(self._beat, store.clone())

    def close(self) -> None:
        """End the watch."""
        self.closed.set()
        os.close(signal.set_wakeup_fd(-1))
        for thread in self.threads:
            thread.join(2 * BEAT)
        if not self.threads[0].is_alive():  # else it would read from a file that is opened next
            os.close(self.wakeup)

    def _run(self, target: typing.Callable[..., None], *arguments: typing.Any) -> None:
        self.threads.append(threading.Thread(target=target, args=arguments, daemon=True))
        self.threads[-1].start()

    def _beat(self, store: dist.Store) -> None:
        number = 0
        with contextlib.suppress(dist.DistError):  # the process that holds the store has ended: it no longer answers
            while not self.closed.wait(BEAT):
                number += 1
                store.set(f"beat/{self.rank}", f"{number} {self.entered}")
                if self.depth and (self.signals or time.monotonic() - self.since > BEAT):
                    for rank in [*self.beats]:
                        if store.check([f"beat/{rank}"]):
                            self._note(rank, *map(int, store.get(f"beat/{rank}").split()))
                self.answered = time.monotonic()

    def _note(self, rank: int, number: int, entered: int) -> None:
        if self.beats[rank].number != number:
            self.beats[rank] = Beat(number, entered, time.monotonic())

    def _watch(self) -> None:
        while not self.closed.is_set():
            if select.select([self.wakeup], [], [], BEAT / 2)[0]:
                self.signals += [(n, time.monotonic()) for n in os.read(self.wakeup, 64) if n in SIGNALS]
            self._look(time.monotonic())
            if ending := self._ending(self.looked):
                if ending[1] == TIMED_OUT and self.recorder:
                    self.recorder.write()
                end(*ending)

    def _look(self, now: float) -> None:
        """Note a pause of this process, as of a machine that was suspended: others are heard of only after it."""
        if now - self.looked > 2 * BEAT:
            self.resumed = now
        self.looked = now

    def _ending(self, now: float) -> tuple[str, int] | None:
        """The last line and the exit status, if the process must end now."""
        if not self.depth:
            return None
        waited, knows = now - self.since, now - self.resumed > self.patience
        if self.answered and knows and waited > self.timeout:  # before, the timeouts of the connection apply
            culprits, reason = self._awaited(now)
            first = min({*range(self.world_size)} - culprits)  # which speaks for all that wait
            advice = "continue with --resume, or with a longer --timeout"
            line = f"waited {duration(waited)} for {reason}{self._where()}; {advice}"
            return (f"error: {line}" if first == self.rank else ""), TIMED_OUT
        if not self.signals:
            return None
        asked = min(waited, now - self.signals[0][1])  # seconds since it both waits and was asked to stop
        interrupts = [at for number, at in self.signals if number == signal.SIGINT]
        if interrupts and interrupts[-1] - interrupts[0] > SAME_CTRL_C and asked > SAME_CTRL_C:
            return "interrupted", 130
        if asked > self.patience and knows and (silent := self._silent(now)):
            number = self.signals[0][0]
            name = signal.Signals(number).name
            return (
                f"stopped by {name} while waiting for {silent[1]}; continue with --resume from the last checkpoint",
                (128 + number),
            )
        return None

    def _where(self) -> str:
        """In which operation this process waits, and where the last operations of all are listed."""
        name = f", in {self.operation} (operation {self.entered} of the run)" if self.operation else ""
        listed = (
            f"; `torchfrtrace {self.recorder.folder} -p rank_` compares the last operations" if self.recorder else ""
        )
        return name + listed

    def _silent(self, now: float) -> tuple[set[int], str] | None:
        """The processes that do not answer."""
        if not self.answered:
            return set(), "the other processes to start"
        if now - self.answered > self.patience:
            return set(), "the process that holds the store of the job, rank 0 or torchrun, which does not answer"
        silent = {rank for rank, beat in self.beats.items() if now - beat.since > self.patience}
        return (silent, f"{named(silent)}, which does not answer (stopped, or its machine is gone)") if silent else None

    def _awaited(self, now: float) -> tuple[set[int], str]:
        """The processes that the others wait for."""
        if found := self._silent(now):
            return found
        behind = {rank for rank, beat in self.beats.items() if beat.entered < self.entered}
        if behind:
            return behind, f"{named(behind)}, which is busy with something else"
        return set(), "another process, though none is behind: see the network between them"


def named(ranks: set[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, sorted(ranks)))}"


def end(line: str, status: int) -> typing.NoReturn:
    """End this process, whose main thread waits in C++, without unwinding it; files appear whole or not at all."""
    if line:
        print(f"{rank_prefix()}{line}", file=sys.stderr, flush=True)
        tell_torchrun(line)
    os._exit(status)
