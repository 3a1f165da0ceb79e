"""The stream of samples: a slot goes in, a sample comes out, whichever process computes it.

A record is checked against its index before anything of it is decoded. One that is bad is read again, and if it
still is, the slot takes the record that a pure function of (seed, epoch, slot, attempt) names.
"""

import hashlib
import json
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from pack.record import decode, frame_count
from pack.shard import Entry, Index, read_record
from train.crop import cut, draw, frame_indexes
from train.plan import replacement
from train.seeds import generator

ATTEMPTS = 10  # bad records in a row before a slot gives up

Slot = tuple[int, int, int]  # epoch, position in the epoch, record


@dataclass(frozen=True)
class Fault:
    """A record that could not be used, and why."""

    key: str
    shard: str
    reason: str


@dataclass
class Sample:
    """What a slot becomes. T frames, S side of the tile."""

    frames: torch.Tensor  # float (T 3 S S) in [0, 1]
    holes: torch.Tensor  # bool (T 1 S S)
    position: int
    record: int
    digest: int  # 48 bits that stand for record, frames, tile and augmentation
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Records:
    """All records of a split, by number."""

    shards: tuple[Index, ...]

    def __post_init__(self):
        object.__setattr__(self, "ends", np.cumsum([len(shard.records) for shard in self.shards]))

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, number: int) -> tuple[Index, Entry]:
        shard = int(np.searchsorted(self.ends, number, side="right"))
        index = self.shards[shard]
        return index, index.records[number - (int(self.ends[shard]) - len(index.records))]

    def fingerprint(self) -> str:
        """What names this dataset: the same records in the same order, wherever they lie."""
        names = "\n".join(f"{shard.name} {shard.sha256}" for shard in self.shards)
        return hashlib.sha256(names.encode()).hexdigest()[:16]


class Samples(Dataset):
    """Samples by slot: augmented for training with a seed, the fixed ones of evaluation without."""

    def __init__(self, records: Records, frames: int, tile: int, seed: int | None = None):
        self.records, self.frames, self.tile, self.seed = records, frames, tile, seed

    def __getitem__(self, slot: Slot) -> Sample | Fault:
        epoch, position, number = slot
        draws = None if self.seed is None else draw(generator(self.seed, epoch, position, "crop"))
        faults = []
        for attempt in range(ATTEMPTS):
            chosen = number
            if attempt:  # evaluation has no seed and takes the next record
                chosen = replacement(self.seed or 0, epoch, position, attempt, len(self.records))
            try:
                sample = self._sample(chosen, position, draws)
                sample.faults = tuple(faults)
                return sample
            except (ValueError, OSError) as error:
                index, entry = self.records[chosen]
                faults.append(Fault(entry.key, str(index.tar), " ".join(str(error).split())))
        return faults[-1]

    def _sample(self, number: int, position: int, draws) -> Sample:
        index, entry = self.records[number]
        try:
            members = read_record(index, entry)
        except (ValueError, OSError):  # a passing fault of the disk or the network: once more
            members = read_record(index, entry)
        indexes = frame_indexes(frame_count(entry.key, members), self.frames, draws)
        record = decode(entry.key, members, indexes)
        frames, holes, corner = cut(record.frames, record.masks, self.tile, draws)
        return Sample(frames, holes, position, number, _digest(entry, indexes, corner, draws))


class Positions(Sampler):
    """The slots that this rank computes next; set before every pass over the loader."""

    def __init__(self):
        self.slots: Sequence[Slot] = ()

    def __iter__(self) -> Iterator[Slot]:
        return iter(self.slots)

    def __len__(self) -> int:
        return len(self.slots)


class Stream:
    """Samples of given slots in their order, computed ahead by worker processes that live from epoch to epoch."""

    def __init__(self, samples: Samples, workers: int, pin_memory: bool = False):
        self.positions = Positions()
        self.loader = DataLoader(
            samples,
            batch_size=None,
            sampler=self.positions,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_ignore_signals,
            pin_memory=pin_memory,
            multiprocessing_context="fork" if workers else None,
        )

    def samples(self, slots: Sequence[Slot]) -> Iterator[Sample]:
        """Raises ValueError when a slot found no usable record, OSError when a worker died."""
        self.positions.slots = slots
        try:
            for sample in self.loader:
                if isinstance(sample, Fault):
                    raise ValueError(
                        f"{ATTEMPTS} bad records in a row, the last in {sample.shard}: {sample.reason}: "
                        f"see `python tools/verify.py -i {Path(sample.shard).parent}`"
                    )
                yield sample
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise OSError(
                f"a data worker died, often for lack of memory ({str(error).splitlines()[0]}): "
                f"go on with --resume, perhaps with fewer --num-workers"
            ) from error


def eval_slots(count: int, rank: int, world: int) -> list[Slot]:
    """Every record of the evaluation split once over all ranks."""
    return [(0, number, number) for number in range(rank, count, world)]


def _digest(entry: Entry, indexes: list[int], corner: tuple[int, int], draws) -> int:
    text = json.dumps([entry.key, entry.crc32, indexes, corner, draws and [draws.jitter, draws.outer, draws.inner]])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")


def _ignore_signals(_: int) -> None:
    """The main process decides when to stop; workers that died first would look like a crash."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
