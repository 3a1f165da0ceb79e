"""The stream of samples: a slot goes in, a sample comes out, whichever process computes it."""

import contextlib
import signal
from collections.abc import Iterator, Sequence
from itertools import chain
from multiprocessing import forkserver, get_context, resource_tracker
from typing import Any

from torch.utils.data import DataLoader, Sampler

from pack.shards.store import StoreError, parse_location
from tools.cli import UserError
from train.data.handover import AHEAD, Handover
from train.data.samples import ATTEMPTS, BadRecord, Sample, Samples, Slot, StoreUnavailable
from train.runtime.signals import SIGNALS

WORKER_DIED = "a data worker died, often for lack of memory ({}): go on with --resume, perhaps with fewer --num-workers"


class Positions(Sampler):
    """The slots that this rank computes next; set before every pass over the loader."""

    def __init__(self):
        self.slots: Sequence[Slot] = ()

    def __iter__(self) -> Iterator[Slot]:
        return iter(self.slots)

    def __len__(self) -> int:
        return len(self.slots)


class Stream:
    """Samples of given slots in their order, computed ahead by worker processes that live from epoch to epoch.

    A worker takes `tiles` slots at a time, those of one record.
    """

    def __init__(self, samples: Samples, workers: int, pin_memory: bool = False, tiles: int = 1):
        self.positions, self.pin_memory = Positions(), pin_memory
        context = worker_context(samples.records.remote) if workers else None
        self.handover = Handover(context, workers, tiles, samples.frames, samples.tile) if workers else None
        self.loader = DataLoader(
            samples,
            batch_size=tiles,
            collate_fn=self.handover.leave if self.handover else list,
            sampler=self.positions,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_settle,
            prefetch_factor=AHEAD if workers else None,
            multiprocessing_context=context,
        )

    def __call__(self, slots: Sequence[Slot]) -> Iterator[Sample | BadRecord]:
        """The sample of each slot, or its fault. Raises StoreError when a store refuses or stays away."""
        self.positions.slots = slots
        for found in chain.from_iterable(iter(self.loader)):
            if isinstance(found, StoreUnavailable):
                raise StoreError(f"{found.reason}; when that is mended, go on with --resume")
            yield self.handover.fetch(found, self.pin_memory) if self.handover else found

    def close(self) -> None:
        """End the workers. Without it a process that exits would wait for them, who ignore what exiting sends them."""
        iterator = self.loader._iterator
        if iterator is not None:
            iterator._shutdown_workers()  # as when it is collected, which an exception's traceback can put off
            for worker in iterator._workers:
                worker.kill()

    def samples(self, slots: Sequence[Slot]) -> Iterator[Sample]:
        """Samples alone. Raises UserError when a slot found no usable record."""
        for sample in self(slots):
            if isinstance(sample, BadRecord):
                raise UserError(
                    f"{ATTEMPTS} bad records in a row, the last in {sample.shard}: {sample.reason}: "
                    f"see `python tools/verify.py -i {parse_location(sample.shard).parent}`"
                )
            yield sample


@contextlib.contextmanager
def deaths_told() -> Iterator[None]:
    """Inside the block the death of a worker is an OSError; torch raises it in whatever the main process is doing."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(WORKER_DIED.format(str(error).splitlines()[0].rstrip(". "))) from error


def eval_slots(count: int, rank: int, world: int) -> list[Slot]:
    """Every record of the evaluation split once over all ranks."""
    return [(0, number, number) for number in range(rank, count, world)]


def worker_context(remote: bool) -> Any:
    """How workers start: by fork, or for a store from a process that has no client, as none survives a fork."""
    if not remote:
        return get_context("fork")
    context = get_context("forkserver")
    context.set_forkserver_preload(["train.data.stream"])
    resource_tracker.ensure_running()  # it lets through the signals that are held back below
    ours = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        forkserver.ensure_running()  # which, with all that it forks, keeps them held back: see _settle
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, ours)
    return context


def _settle(_: int) -> None:
    """Make a worker of the process: one that ignores the signals of stopping."""
    for number in SIGNALS:  # the main process decides; workers that died first would look like a crash
        signal.signal(number, signal.SIG_IGN)
