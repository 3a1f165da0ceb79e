"""The processes of a job: who this one is, and the few things that they tell each other.

Gradients are summed by hand in one flat all-reduce instead of torch's DistributedDataParallel: that regroups its
buckets after the first step, so sums come in another order after a resume and weights differ in their last bits.
"""

import atexit
import contextlib
import os
import sys
import threading
import time
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from model.device import choose_device
from tools.cli import UserError


@dataclass(frozen=True)
class Group:
    """This process among the `world` processes of the job. Raises OSError when another one is gone."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def all_reduce_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Every process gets the sum of all processes' gradients, alike to the last bit."""
        if self.world_size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch._utils._flatten_dense_tensors(gradients)
        _talk(dist.all_reduce, flat)
        for gradient, total in zip(gradients, torch._utils._unflatten_dense_tensors(flat, gradients), strict=True):
            gradient.copy_(total)

    def gather(self, values: torch.Tensor) -> torch.Tensor:  # CPU (...) -> (world ...)
        """The values of every process, by rank."""
        if self.world_size == 1:
            return values[None]
        rows = [torch.empty_like(values) for _ in range(self.world_size)]
        _talk(dist.all_gather, rows, values)
        return torch.stack(rows)

    def gather_objects(self, value: Any) -> list[Any]:
        """The value of every process, by rank."""
        if self.world_size == 1:
            return [value]
        values = [None] * self.world_size
        _talk(dist.all_gather_object, values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Whether it is so on any process."""
        return bool(self.gather(torch.tensor([flag])).any())

    def broadcast(self, value: Any) -> Any:
        """The first process's value, on every process."""
        if self.world_size == 1:
            return value
        box = [value]
        _talk(dist.broadcast_object_list, box)
        return box[0]

    def first(self, act: Callable[..., Any], *arguments: Any) -> Any:
        """Let the first process act alone; what it returns, or its UserError or OSError, is every process's."""
        result = failure = None
        if self.is_main:
            try:
                result = act(*arguments)
            except (UserError, OSError) as error:
                failure = error
        result, failure = self.broadcast((result, failure))
        if failure:
            raise failure
        return result


def _talk(operation: Callable[..., Any], *arguments: Any) -> None:
    """Do a collective operation; torch says nothing better than RuntimeError when a process has gone."""
    try:
        operation(*arguments)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0].partition(". ")[0]
        raise UserError(
            f"another process of the job ended, or cannot be reached ({reason}): see what it says, go on with --resume"
        ) from error


@contextlib.contextmanager
def join(device: str) -> Iterator[Group]:
    """This process's place in the job that torchrun started, or a job of one."""
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", 0)))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world == 1:
        yield Group(0, 1, chosen)
        return
    _talk(connect, "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Group(rank, world, chosen)
    finally:
        dist.destroy_process_group()


def end_of_job() -> typing.NoReturn:
    """End this process well, once its threads and exit handlers are done, but leave the interpreter as it is.

    While that is torn down, a thread of gloo's that still lets go of a tensor aborts a process that has done its work
    (PyTorch pull request 179291).
    """
    for thread in threading.enumerate():
        if not (thread is threading.current_thread() or thread.daemon):
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def connect(backend: str) -> None:
    """Meet the other processes of the job."""
    store, rank, world = next(rendezvous("env://"))
    dist.init_process_group(backend, store=unused_part(store, rank, world), rank=rank, world_size=world)
    dist.all_reduce(torch.zeros(1))  # one that left at once, as over a wrong option, would fail those still connecting


def unused_part(store: dist.Store, rank: int, world: int) -> dist.Store:
    """A part of the store that this start of the job alone has, although torchrun restarts it with the same store.

    There the addresses of processes that died would be found. Rank 0 numbers the start and tells each of the others as
    soon as it asks, under a word that none has used before; how often torchrun restarted is not the same on every node.
    """
    if rank:
        word = os.urandom(8).hex()
        store.set(f"ask/{rank}", word)
        start = int(store.get(f"tell/{word}"))  # waits
        store.add(f"told/{start}", 1)
    else:
        start = store.add("starts", 1)
        while store.add(f"told/{start}", 0) < world - 1:
            for asking in (f"ask/{other}" for other in range(1, world)):
                if store.check([asking]):
                    store.set(f"tell/{store.get(asking).decode()}", str(start))
            time.sleep(0.02)
    return dist.PrefixStore(f"start/{start}", store)
