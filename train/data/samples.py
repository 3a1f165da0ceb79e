"""Makes the sample of a slot in stages, or reports its bad record.

A stage is a generator over items, as in any WebDataset pipeline: draw, read, check, decode_tile, and those of the user.
A record is checked against its index before it is decoded. A bad record is read again; if it is still bad, the slot
shows another record, a pure function of (seed, epoch, slot, attempt).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from pack.shards.index import Entry, Index
from pack.shards.record import Box, Record, decode, decode_frames, decode_masks, frame_count, parse_info
from pack.shards.shard import read_record
from pack.shards.store import StoreError
from tools.cli import UserError, is_shortage, one_line
from tools.cli.program import is_of_file, users_line
from train.data.crop import (
    NO_USE,
    AugmentParams,
    DoesNotFit,
    Jitter,
    as_used,
    cut,
    draw_params,
    frame_indexes,
    use_of,
)
from train.data.looks import MAX_SHRINK, Look
from train.data.plan import Slot, replacement
from train.data.records import Records
from train.runtime.seeds import generator

ATTEMPTS = 10  # bad records in a row before a slot gives up

Reader = Callable[[Index, Entry], dict[str, bytes]]
Item = dict[str, Any]  # a sample in the making, with an entry of each stage
Stage = Callable[[Iterator[Any]], Iterator[Any]]


@dataclass(frozen=True)
class BadRecord:
    """A record that could not be used, and why."""

    key: str
    shard: str
    reason: str


class Unavailable(BadRecord):
    """A record whose store does not answer, or that the machine lacked memory or open files to read.

    It may be good, so it must not be replaced.
    """


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


class Failure(NamedTuple):
    """The slot of a bad record on its way through the stages."""

    slot: Slot
    reason: BadRecord


class Samples(Dataset):
    """Samples by slot: augmented for training with a seed, the fixed ones of evaluation without.

    `read` fetches the members of a record: from its shard, or through a cache. With `keep` the last record stays
    decoded, for consecutive slots that show the same one. `strong` augmentation adds looks to iw3's. `holes_as_used` is
    the share of samples whose holes grow as in use. `own` are stages of the user, which take and yield samples.
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
        holes_as_used: float = 0.0,
        own: Sequence[Stage] = (),
    ):
        self.records, self.frames, self.tile, self.seed = records, frames, tile, seed
        self.reader, self.keep, self.strong, self.holes_as_used = read or read_record, keep, strong, holes_as_used
        self.stages: tuple[Stage, ...] = (self.draw, self.read, self.check, self.decode_tile, *own)
        self.guarded: tuple[Stage, ...] = tuple(partial(self._guard, stage) for stage in self.stages)
        self.pipeline: tuple[Stage, ...] = (*self.guarded, self.replace_bad)  # from a slot to its sample
        self.own_names = [f"{stage.__module__}.{stage.__qualname__}" for stage in own]
        self.kept: tuple[int, Record] | None = None

    def draw(self, items: Iterator[Item]) -> Iterator[Item]:  # slot -> + params
        """Draw the random parameters, from the slot alone; none in evaluation."""
        for item in items:
            yield item | {"params": None if self.seed is None else self._params(item["slot"])}

    def read(self, items: Iterator[Item]) -> Iterator[Item]:  # -> + members
        """Read the record of the slot, checked against length and crc32 of its index; nothing if it is kept."""
        for item in items:
            number = item["slot"].record
            yield item | {"members": None if self._is_kept(number) else self._members(number)}

    def check(self, items: Iterator[Item]) -> Iterator[Item]:  # -> + indexes
        """Check that the record is complete and has enough frames, and choose those that are shown."""
        for item in items:
            number, members = item["slot"].record, item["members"]
            if members is None:
                found = len(self._whole(number, members).frames)
            else:
                found = frame_count(self._key(number), members)
            yield item | {"indexes": frame_indexes(found, self.frames, item["params"])}

    def decode_tile(self, items: Iterator[Item]) -> Iterator[Sample]:
        """Decode the masks, which choose the tile, and the pixels of the frames inside it."""
        for item in items:
            slot, params, indexes, members = (item[name] for name in ("slot", "params", "indexes", "members"))
            masks, frames_in = self._decoders(slot.record, members, indexes)
            use = use_of(self._info(slot.record, members)) if params and params.as_used else NO_USE
            tile = cut(frames_in, masks, self.tile, params, use)
            digest = _digest(self.records[slot.record][1], indexes, tile.corner, params, self.own_names)
            jitter = params.jitter if params else None
            yield Sample(torch.from_numpy(tile.frames), tile.holes, slot, digest, jitter, tile.look)

    def replace_bad(self, items: Iterator[Sample | Failure]) -> Iterator[Sample | BadRecord]:
        """Where a record is bad, run the stages again on another: up to ATTEMPTS in training, none in evaluation."""
        for item in items:
            bad: list[BadRecord] = []
            while isinstance(item, Failure) and not isinstance(item.reason, Unavailable):
                bad.append(item.reason)
                if self.seed is None or len(bad) == ATTEMPTS:
                    break
                epoch, index, _ = item.slot
                chosen = replacement(self.seed, epoch, index, len(bad), len(self.records))
                (item,) = through(self.guarded, item.slot._replace(record=chosen))
            yield replace(item, bad_records=tuple(bad)) if isinstance(item, Sample) else item.reason

    def __getitem__(self, slot: Slot | tuple[int, int, int]) -> Sample | BadRecord:
        """The sample of a slot, or the record that is bad: the last of ATTEMPTS, in evaluation the only one."""
        (found,) = through(self.pipeline, Slot(*slot))
        return found

    @property
    def largest(self) -> int:
        """Side of the largest tile of a sample."""
        return self.tile * (MAX_SHRINK if self.strong else 1)

    def check_fit(self) -> None:
        """Raise UserError when the first record, and so probably all, is too small or too short for the settings."""
        try:
            list(through(self.stages, Slot(0, 0, 0)))
        except DoesNotFit as error:
            raise UserError(f"{self.records[0][0].tar}: {error}") from None
        except StoreError:
            raise
        except (UserError, OSError) as error:
            if not is_of_file(error):
                raise
            # a bad record is reported when it is drawn

    def _guard(self, stage: Stage, items: Iterator[Any]) -> Iterator[Any]:
        """What the stage makes of each item, or its failure; the stage starts anew, so that no item affects another.

        Errors of the record readers and of the operating system mark the record as bad. Any other error is a bug, or
        a lack of memory or open files, which says nothing of the record.
        """
        for item in items:
            yield item if isinstance(item, Failure) else self._attempt(stage, item)

    def _attempt(self, stage: Stage, item: Any) -> Any:
        try:
            found = list(stage(iter([item])))
        except Exception as error:
            # from a worker process torch would raise a shortage without its errno, as if it were a bug
            reports_shortage = is_shortage(error) and get_worker_info() is not None
            if not (reports_shortage or is_of_file(error)):
                raise
            slot = item["slot"] if isinstance(item, dict) else item.slot
            index, entry = self.records[slot.record]
            kind = Unavailable if reports_shortage or isinstance(error, StoreError) else BadRecord
            reason = users_line(error) if reports_shortage else one_line(error)
            return Failure(slot, kind(entry.key, str(index.tar), reason))
        if len(found) != 1:
            raise TypeError(f"the stage {stage} made {len(found)} samples of one, expected 1")
        return found[0]

    def _params(self, slot: Slot) -> AugmentParams:
        place = (self.seed or 0, slot.epoch, slot.index)
        params = draw_params(generator(*place, "crop"), self.strong)
        # a generator of its own: without this growth, samples are those of earlier versions
        gen = generator(*place, "as used")
        grows = torch.rand((), generator=gen, dtype=torch.float64) < self.holes_as_used
        return as_used(params) if grows else params

    def _info(self, number: int, members: dict[str, bytes] | None) -> dict[str, Any]:
        if members is None:
            return self._whole(number, members).info
        return parse_info(self._key(number), members["json"])

    def _key(self, number: int) -> str:
        return self.records[number][1].key

    def _is_kept(self, number: int) -> bool:
        return self.kept is not None and self.kept[0] == number

    def _whole(self, number: int, members: dict[str, bytes] | None) -> Record:
        """The decoded record, kept until another one is needed."""
        if members is not None:
            self.kept = number, decode(self._key(number), members)
        return self.kept[1]

    def _decoders(
        self, number: int, members: dict[str, bytes] | None, indexes: list[int]
    ) -> tuple[np.ndarray, Callable[[Box], np.ndarray]]:
        """The masks of these frames, uint8 (T H W), and a function that decodes a box of the frames."""
        if self.keep:
            record = self._whole(number, members)
            return record.masks[indexes], lambda box: record.frames[indexes, box[1] : box[3], box[0] : box[2]]
        assert members is not None, "only kept records are not read"
        key = self._key(number)
        return decode_masks(key, members, indexes), lambda box: decode_frames(key, members, indexes, box)

    def _members(self, number: int) -> dict[str, bytes]:
        index, entry = self.records[number]
        try:
            return self.reader(index, entry)
        except StoreError:  # it was retried many times
            raise
        except (UserError, OSError) as error:
            if not is_of_file(error):
                raise
            return self.reader(index, entry)  # again, in case the disk or the network failed for a moment


def through(stages: Iterable[Stage], slot: Slot) -> Iterator[Any]:
    """What the stages make of one slot."""
    items: Iterator[Any] = iter([{"slot": slot}])
    for stage in stages:
        items = stage(items)
    return items


def _digest(
    entry: Entry, indexes: list[int], corner: tuple[int, int], params: AugmentParams | None, own: Sequence[str] = ()
) -> int:
    drawn = params and [params.jitter, params.outer, params.inner, *([astuple(params.look)] if params.look else [])]
    if params and params.as_used:
        drawn = [*(drawn or []), "as used"]
    text = json.dumps([entry.key, entry.crc32, indexes, corner, drawn, *own])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")
