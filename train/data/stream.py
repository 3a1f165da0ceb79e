"""The stream of samples: slots go in, samples come out in the same order, regardless of which process computes them."""

import contextlib
import ctypes
import signal
from collections.abc import Iterator, Sequence
from itertools import chain
from multiprocessing import forkserver, get_context, resource_tracker
from multiprocessing.context import BaseContext, ForkContext, ForkProcess
from typing import Any

import numpy as np
import webdataset
from torch.utils.data import get_worker_info
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from pack.shards.location import parse_location
from pack.shards.store import StoreError
from tools.cli import UserError
from train.data.handover import PREFETCH, Handover
from train.data.plan import Slot
from train.data.samples import ATTEMPTS, BadRecord, Item, Sample, Samples, Unavailable
from train.runtime.cpu import keep_freed_memory
from train.runtime.signals import SIGNALS

CAPACITY = 1 << 16  # slots of a pass; more of them are done in several passes
SOURCE = "samples of a data worker or a store"
WORKER_DIED = (
    "a data worker died, often for lack of memory ({}): continue with --resume, perhaps with fewer --num-workers"
)


class SlotTable:
    """The first stage: slots, in memory that the main process writes before each pass and its workers read.

    A worker computes every `workers`-th visit, which is `tiles` slots of one record. WebLoader takes the workers' tasks
    in turn, so the samples come out in the order of the slots.
    """

    def __init__(self, context: BaseContext | None, tiles: int):
        self.tiles = tiles
        size = 1 + 3 * CAPACITY  # their number, then epoch, index and record of each
        self.memory: Any = context.RawArray("q", size) if context else (ctypes.c_longlong * size)()

    def write(self, slots: Sequence[Slot]) -> None:
        """Set the slots of the next pass, at most CAPACITY."""
        numbers = np.frombuffer(self.memory, np.int64)
        numbers[1 : 1 + 3 * len(slots)] = np.array(slots, np.int64).reshape(-1)
        numbers[0] = len(slots)

    def __call__(self) -> Iterator[Item]:  # -> slot
        """The slots of this worker, in their order."""
        worker = get_worker_info()
        first, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        numbers = np.frombuffer(self.memory, np.int64)
        slots = numbers[1 : 1 + 3 * numbers[0]].reshape(-1, 3).tolist()
        for visit in range(first * self.tiles, len(slots), workers * self.tiles):
            for slot in slots[visit : visit + self.tiles]:
                yield {"slot": Slot(*slot)}


class Stream:
    """Samples of given slots in their order, computed ahead by worker processes that live from epoch to epoch.

    A worker takes `tiles` slots at a time, those of one record.
    """

    def __init__(self, samples: Samples, workers: int, tiles: int = 1):
        context = worker_context(samples.records.remote) if workers else None
        self.source, self.tiles, self.slots = samples, tiles, SlotTable(context, tiles)
        self.handover = Handover(context, workers, tiles, samples.frames, samples.largest) if context else None
        self.loader = webdataset.WebLoader(
            webdataset.DataPipeline(
                self.slots,  # those that this worker computes, in their order
                *samples.pipeline,  # draw, read, check, decode_tile, stages of the user, replace_bad
            ),
            batch_size=tiles,
            collate_fn=self.handover.store if self.handover else list,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_prepare_worker,
            prefetch_factor=PREFETCH if workers else None,
            multiprocessing_context=context,
        )

    def __call__(self, slots: Sequence[Slot]) -> Iterator[Sample | BadRecord]:
        """The sample of each slot, or its bad record. Raises StoreError where a store or the machine is at fault."""
        most = CAPACITY // self.tiles * self.tiles
        for start in range(0, len(slots), most):
            self.slots.write(slots[start : start + most])
            yield from self._fetch(iter(self.loader))

    def _fetch(self, tasks: Iterator[list[Any]]) -> Iterator[Sample | BadRecord]:
        """The samples of the workers' tasks, one by one."""
        for found in chain.from_iterable(tasks):
            if isinstance(found, Unavailable):
                raise StoreError(f"{found.reason}; then continue with --resume")
            yield self.handover.fetch(found) if self.handover else found

    @property
    def has_workers(self) -> bool:
        """Whether worker processes live, which were forked from this one and inherit no file opened since."""
        return isinstance(self.loader.pipeline[0]._iterator, _MultiProcessingDataLoaderIter)

    def close(self) -> None:
        """End the workers, which ignore the signals of an exiting process, so that it would wait for them.

        The iterator and its workers are private, but DataLoader has no public way to end persistent workers. It ends
        them when the iterator is collected, which the traceback of an exception can delay.
        """
        iterator = self.loader.pipeline[0]._iterator
        if isinstance(iterator, _MultiProcessingDataLoaderIter):
            iterator._shutdown_workers()  # without it, their end would be reported as a crash
            for worker in iterator._workers:
                worker.kill()

    def samples(self, slots: Sequence[Slot]) -> Iterator[Sample]:
        """The sample of each slot. Raises UserError when a slot found no usable record."""
        for sample in self(slots):
            if isinstance(sample, BadRecord):
                raise UserError(
                    f"{ATTEMPTS} bad records in a row, the last in {sample.shard}: {sample.reason}: "
                    f"see `python tools/verify.py -i {parse_location(sample.shard).parent}`"
                )
            yield sample


@contextlib.contextmanager
def explain_worker_death() -> Iterator[None]:
    """Inside the block the death of a worker process is a UserError.

    torch raises it as a RuntimeError anywhere in the main process. An exception of a worker is a bug, and
    torch raises it again with the worker's traceback.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise UserError(WORKER_DIED.format(str(error).splitlines()[0].rstrip(". "))) from error


def eval_slots(count: int, rank: int, world_size: int) -> list[Slot]:
    """Every record of the evaluation split once over all ranks."""
    return [Slot(0, record, record) for record in range(rank, count, world_size)]


def worker_context(remote: bool) -> BaseContext:
    """How workers start: by fork, or for a store from a process without clients, which do not survive a fork."""
    if not remote:
        return Forking()
    context = get_context("forkserver")
    context.set_forkserver_preload(["train.data.stream"])
    resource_tracker.ensure_running()  # first, as it must not inherit the blocked signals
    with blocked():
        forkserver.ensure_running()  # it and its workers inherit the blocked signals
    return context


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """Inside the block the signals that stop a run wait; processes that it starts never get them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Worker(ForkProcess):
    """A worker that gets no signal that stops a run, from its first moment on: one that it does not ignore ends it."""

    def start(self) -> None:
        with blocked():
            super().start()


class Forking(ForkContext):
    """The way of starting workers by fork."""

    Process = Worker


def _prepare_worker(_: int) -> None:
    """Let a worker ignore the signals that stop a run, as the main process decides when its workers end.

    It keeps the memory that it frees: new pages for every frame take an eighth of the CPU time of a sample.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    keep_freed_memory()
