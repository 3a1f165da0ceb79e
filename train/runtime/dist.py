"""The processes of a job: the rank of this one, and the collective operations between them."""

import atexit
import contextlib
import os
import re
import sys
import threading
import time
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.distributed.rendezvous import rendezvous

from model.device import choose_device
from tools.cli import UserError, duration
from tools.cli.program import is_users
from train.runtime.flight import FlightRecorder
from train.runtime.watch import Watch, named

MARGIN = timedelta(minutes=1)

# how gloo's messages begin when a connection is closed, reset or times out; a failed check of its own, as of two
# tensors of different sizes, begins with "[enforce fail at"
GLOO_CONNECTION = re.compile(r"\[\S*gloo/transport/\S+\] ")


@dataclass(frozen=True)
class Group:
    """This process among the processes of the job. Collective operations raise UserError when another one has ended."""

    rank: int
    world_size: int
    device: torch.device
    watch: Watch | None = None  # of several processes

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def log(self, line: str) -> None:
        """Print a line, once for all processes."""
        if self.is_main:
            print(line, flush=True)

    def collective(self, operation: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Run an operation that all processes take part in. Raises UserError when one of them has ended."""
        try:
            with self.watch.waiting(operation.__name__) if self.watch else contextlib.nullcontext():
                return operation(*arguments, **options)
        except RuntimeError as error:
            if not is_connection_failure(error):
                raise
            reason = str(error).strip().splitlines()[0].partition(". ")[0]
            raise UserError(
                f"another process of the job ended or cannot be reached ({reason}): see its output, continue with "
                f"--resume"
            ) from error

    def leave_out(self, operations: int) -> None:
        """Count operations that other processes enter and this one need not, so that the watch compares like counts."""
        if self.watch:
            self.watch.entered += operations

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Every process gets the sum of all processes' gradients, identical to the last bit."""
        if self.world_size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self.collective(self.sum_by_rank, flat)
        totals = flat.split([gradient.numel() for gradient in gradients])
        for gradient, total in zip(gradients, totals, strict=True):
            gradient.copy_(total.view(gradient.shape))

    def sum_by_rank(self, values: torch.Tensor) -> None:  # (N)
        """Replace the values with their sums over all processes, each added in the order of ranks.

        Each process adds up its part of the values, which takes the traffic of a ring all-reduce.
        """
        padded = F.pad(values, (0, -len(values) % self.world_size))
        parts = torch.empty_like(padded)
        dist.all_to_all_single(parts, padded)
        first, *others = parts.chunk(self.world_size)  # this process's part, from every process
        for other in others:
            first += other
        dist.all_gather([*padded.chunk(self.world_size)], first)
        values.copy_(padded[: len(values)])

    def gather(self, values: torch.Tensor) -> torch.Tensor:  # CPU (...) -> (world_size ...)
        """The values of every process, by rank."""
        if self.world_size == 1:
            return values[None]
        rows = [torch.empty_like(values) for _ in range(self.world_size)]
        self.collective(dist.all_gather, rows, values)
        return torch.stack(rows)

    def gather_objects(self, value: Any) -> list[Any]:
        """The value of every process, by rank."""
        if self.world_size == 1:
            return [value]
        values = [None] * self.world_size
        self.collective(dist.all_gather_object, values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process."""
        return bool(self.gather(torch.tensor([flag])).any())

    def broadcast(self, value: Any) -> Any:
        """The first process's value, on every process."""
        if self.world_size == 1:
            return value
        values = [value]
        self.collective(dist.broadcast_object_list, values)
        return values[0]

    def first(self, act: Callable[..., Any], *arguments: Any) -> Any:
        """Run `act` on the first process alone; every process returns its result or raises its user's error.

        Any other exception is a bug: the first process raises it, with its traceback, and the others refer to it.
        """
        if self.world_size == 1:
            return act(*arguments)
        result = failure = bug = None
        if self.is_main:
            try:
                result = act(*arguments)
            except Exception as error:  # any exception, because the others are waiting
                failure, bug = (error, None) if is_users(error) else (None, error)
        result, failure, has_bug = self.broadcast((result, failure, bug is not None))
        if bug:
            raise bug
        if has_bug:
            raise UserError("the first process of the job failed: see its traceback")
        if failure:
            raise failure
        return result


def is_connection_failure(error: RuntimeError) -> bool:
    """Whether the connection between processes failed, as opposed to a wrong call of ours.

    torch has an exception type for its stores, sockets and NCCL; gloo raises a plain RuntimeError for everything.
    """
    if isinstance(error, dist.DistError):
        return "ncclInvalid" not in str(error)  # invalid usage or argument
    return GLOO_CONNECTION.search(str(error)) is not None


@contextlib.contextmanager
def join(device: str, timeout: float, folder: Path) -> Iterator[Group]:
    """This process's rank in the job that torchrun started, or a job of one process.

    A wait for another process that takes more than `timeout` seconds ends this one, see train.runtime.watch, which
    leaves the last operations of each process in `folder`.
    """
    world_size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", 0)))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world_size == 1:
        yield Group(0, 1, chosen)
        return
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    recorder = FlightRecorder(folder, rank, backend)
    recorder.start()
    watch = Watch(rank, world_size, timeout, recorder)
    group = Group(rank, world_size, chosen, watch)
    watch.start()
    try:
        watch.share(group.collective(connect, backend, timedelta(seconds=timeout)))
        yield group
    finally:
        watch.close()
        if dist.is_initialized():
            dist.destroy_process_group()


def end_of_job(status: int) -> typing.NoReturn:
    """End this process with this status after its threads and exit handlers, without tearing down the interpreter.

    During the teardown a thread of gloo's that still releases a tensor can abort a process that has finished its work
    (PyTorch pull request 179291).
    """
    for thread in threading.enumerate():
        if not (thread is threading.current_thread() or thread.daemon):
            thread.join()
    atexit._run_exitfuncs()  # private, but nothing public runs the handlers without the teardown
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def connect(backend: str, timeout: timedelta) -> dist.Store:
    """Connect to the other processes of the job; returns the store of this start of the job."""
    store, rank, world_size = next(rendezvous("env://", timeout=timeout))
    part = unused_part(store, rank, world_size, timeout)
    # the watch is first to end a wait, as it names the process that is waited for
    dist.init_process_group(backend, store=part, rank=rank, world_size=world_size, timeout=timeout + MARGIN)
    dist.all_reduce(torch.zeros(1))  # a process that ends at once, as for a wrong flag, would fail those connecting
    return part


def unused_part(store: dist.Store, rank: int, world_size: int, timeout: timedelta) -> dist.Store:
    """A part of the store that only this start of the job uses.

    torchrun restarts a job with the same store, which still holds the addresses of processes that died. Rank 0 numbers
    the start and answers each of the others under a random key of theirs; the number of restarts that torchrun gives
    differs between nodes. Raises UserError in rank 0 when others have not started after the timeout.
    """
    if rank:
        key = os.urandom(8).hex()
        store.set(f"ask/{rank}", key)
        start = int(store.get(f"answer/{key}"))  # waits
        store.set(f"joined/{start}/{rank}", "")
    else:
        start, latest = store.add("starts", 1), time.monotonic() + timeout.total_seconds()
        while missing := [other for other in range(1, world_size) if not store.check([f"joined/{start}/{other}"])]:
            for request in (f"ask/{other}" for other in missing):
                if store.check([request]):
                    store.set(f"answer/{store.get(request).decode()}", str(start))
            if time.monotonic() > latest:
                raise UserError(
                    f"waited {duration(timeout.total_seconds())} for {named({*missing})} to start: see the output of "
                    f"torchrun on every machine, or pass a longer --timeout"
                )
            time.sleep(0.02)
    return dist.PrefixStore(f"start/{start}", store)
