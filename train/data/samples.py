"""What a slot becomes: the sample that is cut from its record, or the fault that keeps it from being one.

A record is checked against its index before anything of it is decoded. One that is bad is read again, and if it
still is, the slot takes the record that a pure function of (seed, epoch, slot, attempt) names.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
import torch
from torch.utils.data import Dataset

from pack.shards.index import Entry, Index
from pack.shards.record import Box, Record, decode, decode_frames, decode_masks, frame_count
from pack.shards.shard import read_record
from pack.shards.store import RemotePath, StoreError
from tools.cli import UserError
from train.data.crop import AugmentParams, DoesNotFit, cut, draw, frame_indexes
from train.data.plan import replacement
from train.runtime.seeds import generator

ATTEMPTS = 10  # bad records in a row before a slot gives up
UNUSABLE = (ValueError, OSError, SyntaxError)  # what a bad record raises; Pillow calls a broken PNG a SyntaxError

Slot = tuple[int, int, int]  # epoch, position in the epoch, record
Reader = Callable[[Index, Entry], dict[str, bytes]]


@dataclass(frozen=True)
class BadRecord:
    """A record that could not be used, and why."""

    key: str
    shard: str
    reason: str


class StoreUnavailable(BadRecord):
    """A record of which nothing is known, for its store refuses or stays away: it must not be replaced by another."""


@dataclass
class Sample:
    """What a slot becomes. T frames, S side of the tile."""

    frames: torch.Tensor  # float (T 3 S S) in [0, 1]
    holes: torch.Tensor  # bool (T 1 S S)
    position: int
    record: int
    digest: int  # 48 bits that stand for record, frames, tile and augmentation
    faults: tuple[BadRecord, ...] = ()


class Records:
    """All records of a split, by number.

    They are kept in arrays: of millions of objects each worker process would come to hold a copy, page by page, as it
    looks at them and so counts references.
    """

    def __init__(self, shards: Sequence[Index], shares: Sequence[tuple[int, float]] = ()):
        self.shares = tuple(shares)  # (number of shards, weight) of each source, when there are several
        entries = [entry for shard in shards for entry in shard.records]
        self.sizes = [len(shard.records) for shard in shards]
        self.ends = np.cumsum(self.sizes)
        self.shards = [replace(shard, records=()) for shard in shards]
        self.keys = np.array([entry.key.encode() for entry in entries])
        self.ranges = np.array([(entry.offset, entry.length, entry.crc32) for entry in entries], np.int64)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> tuple[Index, Entry]:
        shard = self.shards[int(np.searchsorted(self.ends, number, side="right"))]
        return shard, Entry(self.keys[number].decode(), *self.ranges[number].tolist())

    @property
    def remote(self) -> bool:
        """Whether any of them lies in an object store."""
        return any(isinstance(shard.tar, RemotePath) for shard in self.shards)

    def fingerprint(self) -> str:
        """What names this dataset: the same records in the same order and mixture, wherever they lie."""
        lines = [" ".join([shard.name, shard.sha256, *(f"-{n}" for n in shard.left_out)]) for shard in self.shards]
        names = "\n".join(lines + [f"{s}" for s in self.shares])
        return hashlib.sha256(names.encode()).hexdigest()[:16]


class Samples(Dataset):
    """Samples by slot: augmented for training with a seed, the fixed ones of evaluation without.

    `read` fetches the members of a record: from where its shard lies, or through a cache. With `keep` the last record
    stays decoded, for slots in a row that show the same one. `strong` augmentation adds looks to iw3's.
    """

    def __init__(
        self,
        records: Records,
        frames: int,
        tile: int,
        seed: int | None = None,
        read: Reader | None = None,
        keep: bool = False,
        strong: bool = False,
    ):
        self.records, self.frames, self.tile, self.seed = records, frames, tile, seed
        self.read, self.keep, self.strong = read or read_record, keep, strong
        self.kept: tuple[int, Record] | None = None

    def __getitem__(self, slot: Slot) -> Sample | BadRecord:
        """The slot's sample, or why there is none: the last of ATTEMPTS faults, the only one in evaluation."""
        epoch, position, number = slot
        if self.seed is None:
            return self.sample(number, position, None)
        draws = draw(generator(self.seed, epoch, position, "crop"), self.strong)
        faults = []
        for attempt in range(ATTEMPTS):
            chosen = replacement(self.seed, epoch, position, attempt, len(self.records)) if attempt else number
            found = self.sample(chosen, position, draws)
            if isinstance(found, Sample):
                return replace(found, faults=tuple(faults))
            if isinstance(found, StoreUnavailable):
                return found
            faults.append(found)
        return faults[-1]

    def check_fit(self) -> None:
        """Raise UserError when the first record is too small or too short for what is asked, as all others may be."""
        try:
            self._cut(0, 0, None)
        except DoesNotFit as error:
            raise UserError(f"{self.records[0][0].tar}: {error}") from None
        except StoreError:
            raise
        except UNUSABLE:
            pass  # told when its turn comes

    def sample(self, number: int, position: int, draws: AugmentParams | None) -> Sample | BadRecord:
        try:
            return self._cut(number, position, draws)
        except UNUSABLE as error:
            index, entry = self.records[number]
            kind = StoreUnavailable if isinstance(error, StoreError) else BadRecord
            return kind(entry.key, str(index.tar), " ".join(str(error).split()))

    def _cut(self, number: int, position: int, draws: AugmentParams | None) -> Sample:
        _, entry = self.records[number]
        if self.keep:
            record = self._whole(number)
            indexes = frame_indexes(len(record.frames), self.frames, draws)
            masks = record.masks[indexes]

            def frames_in(box: Box) -> np.ndarray:
                return record.frames[indexes, box[1] : box[3], box[0] : box[2]]
        else:
            members = self._members(number)
            indexes = frame_indexes(frame_count(entry.key, members), self.frames, draws)
            masks = decode_masks(entry.key, members, indexes)

            def frames_in(box: Box) -> np.ndarray:
                return decode_frames(entry.key, members, indexes, box)

        frames, holes, corner = cut(frames_in, masks, self.tile, draws)
        return Sample(frames, holes, position, number, _digest(entry, indexes, corner, draws))

    def _whole(self, number: int) -> Record:
        """The record, kept until another one is asked for."""
        if self.kept is None or self.kept[0] != number:
            self.kept = number, decode(self.records[number][1].key, self._members(number))
        return self.kept[1]

    def _members(self, number: int) -> dict[str, bytes]:
        index, entry = self.records[number]
        try:
            return self.read(index, entry)
        except StoreError:  # it has been asked many times
            raise
        except (ValueError, OSError):  # a passing fault of the disk or the network: once more
            return self.read(index, entry)


def _digest(entry: Entry, indexes: list[int], corner: tuple[int, int], draws: AugmentParams | None) -> int:
    drawn = draws and [draws.jitter, draws.outer, draws.inner, *([astuple(draws.look)] if draws.look else [])]
    text = json.dumps([entry.key, entry.crc32, indexes, corner, drawn])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")
