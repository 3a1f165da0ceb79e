"""The records of a split for the inspect page: their order, their images, and which of them are excluded.

For a record in the list only its first bytes are read, which hold its JSON and its first frame; for an open record its
whole range. N records.
"""

import functools
import io
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pack.shards.exclusion import LIST, change_list, listed_keys, read_keys, refuse_empty
from pack.shards.images.image_file import decode_image
from pack.shards.index import Index
from pack.shards.location import Location
from pack.shards.record import decode, image_members, parse_head, parse_info
from pack.shards.shard import read_record
from pack.shards.store import read_range
from pack.shards.untrusted import CorruptRecord
from tools.cli import UserError, plural
from tools.inspection.hole_areas import HoleAreas

HEAD = 8192  # bytes of a record that hold its JSON and the header of its first frame
THUMBNAIL = 176  # pixels
SORTS = ("packed", "holes", "video", "loss")
SHOWS = ("all", "used", "excluded")


class MissingFrame(UserError):
    """A record has no frame of this number."""


@dataclass(frozen=True)
class Wish:
    """Which records to list."""

    sort: str = "packed"  # one of SORTS; records whose value is unknown come last
    descending: bool = False
    show: str = "all"  # one of SHOWS
    start: int = 0
    count: int = 24

    def __post_init__(self):
        if self.sort not in SORTS or self.show not in SHOWS or self.start < 0 or not 1 <= self.count <= 200:
            raise UserError(f"cannot list records as {self}")


class Gallery:
    """The records of a split. `path` is the list that excluded records are written to, None where there is none.

    `losses` are the last losses of each record, float32 (4 N), NaN where there are none. `model_type` is the depth
    model to use instead of the one that a record names.
    """

    def __init__(
        self,
        split: Location,
        shards: list[Index],
        path: Path | None,
        losses: np.ndarray | None = None,
        model_type: str = "",
    ):
        refuse_empty(split, shards)
        self.split, self.path, self.losses, self.model_type = split, path, losses, model_type
        self.places = [(shard, entry) for shard in shards for entry in shard.records]
        self.numbers: dict[str, list[int]] = {}  # by key, which records of several shards may share
        for number, (_, entry) in enumerate(self.places):
            self.numbers.setdefault(entry.key, []).append(number)
        self.videos = [str(shard.source.get("video") or shard.name) for shard, _ in self.places]
        self.areas = HoleAreas(self.hole_area, len(self.places))
        self.read_lock, self.depth_lock = threading.Lock(), threading.Lock()
        self.head = functools.lru_cache(4096)(self._head)
        self.thumbnail = functools.lru_cache(512)(self._thumbnail)
        self._kept_members = functools.lru_cache(8)(self._members)
        self._kept_depth = functools.lru_cache(8)(self._depth)

    @functools.cached_property
    def values(self) -> dict[str, np.ndarray]:
        """The values that records are sorted by, float (N) each, except hole areas."""
        ranks = {video: rank for rank, video in enumerate(sorted(set(self.videos)))}
        values = {"packed": np.arange(len(self.places)), "video": np.array([ranks[video] for video in self.videos])}
        if self.losses is not None:
            known = (~np.isnan(self.losses)).sum(0)
            values["loss"] = np.where(known, np.nansum(self.losses, 0) / np.maximum(known, 1), np.nan)
        return values

    def page(self, wish: Wish) -> dict[str, Any]:
        """The records to list, with their total number and the progress of measuring their hole areas."""
        excluded = self.excluded()
        order = self.order(wish, excluded)
        shown = order[wish.start : wish.start + wish.count]
        self.areas.ask(shown.tolist())
        if wish.sort == "holes":
            self.areas.ask_all()
        waited_for = self.areas.done if wish.sort == "holes" else self.areas.done[shown]
        return {
            "records": [self.row(number, number in excluded) for number in shown.tolist()],
            "found": len(order),
            "total": len(self.places),
            "split": str(self.split),
            "list": str(self.path) if self.path else None,
            "losses": self.losses is not None,
            "excluded": len(excluded),
            "measured": int(waited_for.sum()),
            "measurable": len(waited_for),
            "failed": self.areas.failed,
        }

    def order(self, wish: Wish, excluded: set[int]) -> np.ndarray:  # -> int64 (n)
        """The numbers of the records to show, sorted; records of equal value stay in the order of packing."""
        values = self.areas.areas if wish.sort == "holes" else self.values.get(wish.sort)
        if values is None:
            raise UserError("there are no losses to sort by: start with --model-dir FOLDER of a training")
        order = np.argsort(-values if wish.descending else values, kind="stable")  # NaN comes last either way
        if wish.show == "all":
            return order
        out = np.zeros(len(order), bool)
        out[list(excluded)] = True
        return order[out[order] == (wish.show == "excluded")]

    def row(self, number: int, excluded: bool) -> dict[str, Any]:
        """The entry of a record in the list."""
        area = self.areas.areas[number]
        losses = [] if self.losses is None else self.losses[:, number].tolist()
        return {
            "number": number,
            "key": self.places[number][1].key,
            "video": self.videos[number],
            "excluded": excluded,
            "holes": None if np.isnan(area) else round(float(area), 6),
            "losses": [round(loss, 6) for loss in losses if not np.isnan(loss)],
        }

    def excluded(self) -> set[int]:
        """The numbers of the records on the split's own list or on the list at `path`."""
        own = read_keys(self.path) if self.path and self.path.exists() else frozenset()
        listed = own if self.path == self.split / LIST else own | listed_keys(self.split)
        return {number for key in listed for number in self.numbers.get(key, ())}

    def exclude(self, key: str, excluded: bool) -> None:
        """Add the record of this key to the list, or remove it. Raises UserError or OSError."""
        number = self.numbers[key][0]
        if self.path is None:
            raise UserError(f"{self.split} is read-only here: start with --exclude FILE, and train with the same flag")
        change_list(self.path, key, excluded)
        if not excluded and number in self.excluded():
            raise UserError(f"{key} is also on {self.split / LIST}, which is read-only here: remove it there")

    def record(self, number: int) -> dict[str, Any]:
        """A record's shard, number of frames and JSON. Raises UserError or OSError."""
        shard, entry = self.places[number]
        members = self.members(number)
        colours, _ = image_members(entry.key, members)
        return {"shard": shard.tar.name, "frames": len(colours), "info": parse_info(entry.key, members["json"])}

    def picture(self, number: int, kind: str, frame: int) -> tuple[bytes, str]:
        """The image file of a frame, its mask or its depth, and its format. Raises UserError or OSError."""
        key, members = self.places[number][1].key, self.members(number)
        colours, masks = image_members(key, members)
        if frame >= len(colours):
            raise MissingFrame(f"record {key} has {plural(len(colours), 'frame')}, found a request for number {frame}")
        if kind == "depth":
            return self.depth(number)[1][frame], "png"
        name = (colours if kind == "frame" else masks)[frame]
        return members[name], name.rpartition(".")[2]

    def members(self, number: int) -> dict[str, bytes]:
        """The members of a record; the last few records are cached, because a page requests their images one by one."""
        with self.read_lock:
            return self._kept_members(number)

    def depth(self, number: int) -> tuple[str, list[bytes]]:
        """A description of how a record's depth was estimated, and a PNG for each frame."""
        with self.depth_lock:
            return self._kept_depth(number)

    def hole_area(self, number: int) -> float:
        """The share of a record's pixels that are holes; those behind two layers count half, as in `hole_share`."""
        shard, entry = self.places[number]
        share = self.head(number)[0].get("hole_share")
        if share is not None:
            if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
                raise CorruptRecord(f"record {entry.key}: its hole_share is not a number from 0 to 1: pack it again")
            return float(share)
        members = read_record(shard, entry)
        _, masks = image_members(entry.key, members)
        return float(np.mean([decode_image(members[name], "L").mean() for name in masks])) / 255

    def _members(self, number):
        return read_record(*self.places[number])

    def _depth(self, number):
        from tools.inspection.depth_view import depth_pictures  # torch takes seconds, which the page must not wait for

        return depth_pictures(decode(self.places[number][1].key, self.members(number)), self.model_type)

    def _head(self, number: int) -> tuple[dict[str, Any], int, int]:
        """A record's JSON, and the offset and length of its first frame's file in the tar."""
        shard, entry = self.places[number]
        data = read_range(shard.tar, entry.offset, min(HEAD, entry.length))
        info, offset, length = parse_head(entry.key, data)
        return info, entry.offset + offset, length

    def _thumbnail(self, number: int) -> bytes:
        """A small JPEG of a record's first frame."""
        _, offset, length = self.head(number)
        pixels = decode_image(read_range(self.places[number][0].tar, offset, length), "RGB")
        image = Image.fromarray(pixels)
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=85)
        return out.getvalue()
