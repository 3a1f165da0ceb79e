"""Makes the sample of a slot, or reports its bad record.

A record is checked against its index before it is decoded. A bad record is read again; if it is still bad, the slot
shows another record, a pure function of (seed, epoch, slot, attempt).
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
from tools.cli import UserError, one_line
from tools.cli.program import is_users
from train.data.crop import AugmentParams, DoesNotFit, Jitter, cut, draw_params, frame_indexes
from train.data.looks import MAX_SHRINK, Look
from train.data.plan import Slot, replacement
from train.runtime.seeds import generator

ATTEMPTS = 10  # bad records in a row before a slot gives up

Reader = Callable[[Index, Entry], dict[str, bytes]]


@dataclass(frozen=True)
class BadRecord:
    """A record that could not be used, and why."""

    key: str
    shard: str
    reason: str


class StoreUnavailable(BadRecord):
    """A record whose store refuses or does not answer: it may be good, so it must not be replaced."""


@dataclass
class Sample:
    """The sample of a slot as bytes, and the numbers by which the device changes them (train.data.augment).

    T frames, S side of the tile, or twice that where the look shrinks.
    """

    frames: torch.Tensor  # uint8 (T S S 3)
    holes: torch.Tensor  # bool (T S S), dilated
    slot: Slot  # its record is the one shown, which is not the planned one where that was bad
    digest: int  # 48-bit hash of record, frames, tile and augmentation
    jitter: Jitter = None
    look: Look | None = None
    bad_records: tuple[BadRecord, ...] = ()  # that were tried before


class Records:
    """All records of a split, by number.

    They are kept in arrays: counting references to millions of objects would copy their pages into every worker
    process.
    """

    def __init__(self, shards: Sequence[Index], shares: Sequence[tuple[int, float]] = ()):
        self.shares = tuple(shares)  # (number of shards, weight) of each of several sources
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
        """Whether any of them is in an object store."""
        return any(isinstance(shard.tar, RemotePath) for shard in self.shards)

    def fingerprint(self) -> str:
        """Identifies the dataset: the same records in the same order and mixture, wherever they are stored."""
        lines = [" ".join([shard.name, shard.sha256, *(f"-{n}" for n in shard.left_out)]) for shard in self.shards]
        names = "\n".join(lines + [f"{s}" for s in self.shares])
        return hashlib.sha256(names.encode()).hexdigest()[:16]


class Samples(Dataset):
    """Samples by slot: augmented for training with a seed, the fixed ones of evaluation without.

    `read` fetches the members of a record: from its shard, or through a cache. With `keep` the last record stays
    decoded, for consecutive slots that show the same one. `strong` augmentation adds looks to iw3's.
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

    def __getitem__(self, slot: Slot | tuple[int, int, int]) -> Sample | BadRecord:
        """The sample of a slot, or the record that is bad: the last of ATTEMPTS, in evaluation the only one."""
        slot = Slot(*slot)
        if self.seed is None:
            return self.sample(slot, None)
        params = draw_params(generator(self.seed, slot.epoch, slot.index, "crop"), self.strong)
        bad = []
        for attempt in range(ATTEMPTS):
            if attempt:
                chosen = replacement(self.seed, slot.epoch, slot.index, attempt, len(self.records))
                slot = slot._replace(record=chosen)
            found = self.sample(slot, params)
            if isinstance(found, Sample):
                return replace(found, bad_records=tuple(bad))
            if isinstance(found, StoreUnavailable):
                return found
            bad.append(found)
        return bad[-1]

    @property
    def largest(self) -> int:
        """Side of the largest tile of a sample."""
        return self.tile * (MAX_SHRINK if self.strong else 1)

    def check_fit(self) -> None:
        """Raise UserError when the first record, and so probably all, is too small or too short for the settings."""
        try:
            self._cut(Slot(0, 0, 0), None)
        except DoesNotFit as error:
            raise UserError(f"{self.records[0][0].tar}: {error}") from None
        except StoreError:
            raise
        except (UserError, OSError) as error:
            if not is_users(error):
                raise
            # a bad record is reported when it is drawn

    def sample(self, slot: Slot, params: AugmentParams | None) -> Sample | BadRecord:
        """The sample that these parameters cut from the record of the slot, or why the record cannot be used.

        Errors of the record readers and of the operating system mark the record as bad; any other error is a bug.
        """
        try:
            return self._cut(slot, params)
        except (UserError, OSError) as error:
            if not is_users(error):
                raise
            index, entry = self.records[slot.record]
            kind = StoreUnavailable if isinstance(error, StoreError) else BadRecord
            return kind(entry.key, str(index.tar), one_line(error))

    def _cut(self, slot: Slot, params: AugmentParams | None) -> Sample:
        _, entry = self.records[slot.record]
        if self.keep:
            record = self._whole(slot.record)
            indexes = frame_indexes(len(record.frames), self.frames, params)
            masks = record.masks[indexes]

            def frames_in(box: Box) -> np.ndarray:
                return record.frames[indexes, box[1] : box[3], box[0] : box[2]]
        else:
            members = self._members(slot.record)
            indexes = frame_indexes(frame_count(entry.key, members), self.frames, params)
            masks = decode_masks(entry.key, members, indexes)

            def frames_in(box: Box) -> np.ndarray:
                return decode_frames(entry.key, members, indexes, box)

        tile = cut(frames_in, masks, self.tile, params)
        digest = _digest(entry, indexes, tile.corner, params)
        jitter = params.jitter if params else None
        return Sample(torch.from_numpy(tile.frames), tile.holes, slot, digest, jitter, tile.look)

    def _whole(self, number: int) -> Record:
        """The decoded record, kept until another one is needed."""
        if self.kept is None or self.kept[0] != number:
            self.kept = number, decode(self.records[number][1].key, self._members(number))
        return self.kept[1]

    def _members(self, number: int) -> dict[str, bytes]:
        index, entry = self.records[number]
        try:
            return self.read(index, entry)
        except StoreError:  # it was retried many times
            raise
        except (UserError, OSError) as error:
            if not is_users(error):
                raise
            return self.read(index, entry)  # again, in case the disk or the network failed for a moment


def _digest(entry: Entry, indexes: list[int], corner: tuple[int, int], params: AugmentParams | None) -> int:
    drawn = params and [params.jitter, params.outer, params.inner, *([astuple(params.look)] if params.look else [])]
    text = json.dumps([entry.key, entry.crc32, indexes, corner, drawn])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")
