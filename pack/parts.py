"""The shards of one video: `NAME-00000.tar`, `NAME-00001.tar`, ..., each published when it is full.

A part ends with a clip, and its index says with which clip the next begins: a killed packing goes on there.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pack.shards.shard import Index, ShardWriter, check_size, read_index
from tools.cli import UserError


class Unwritable(UserError, OSError):
    """The split folder does not take what is written to it: no other video would fare better."""


def part_path(folder: Path, name: str, part: int) -> Path:
    return folder / f"{name}-{part:05d}.tar"


def part_indexes(folder: Path, name: str) -> list[Path]:
    """The indexes that stand under this name, sorted, whether or not parts before them are missing."""
    return sorted(path for path in folder.glob(f"{name}-*.json") if re.fullmatch(r"\d{5,}", path.stem[len(name) + 1 :]))


@dataclass(frozen=True)
class State:
    """What of a video is already in the split."""

    parts: tuple[Index, ...]  # from 0 on, without a gap
    differences: tuple[str, ...]  # between these and what is asked for: nothing may be added then

    @property
    def done(self) -> bool:
        return bool(self.parts) and self.parts[-1].source["last"]

    @property
    def next_clip(self) -> int:
        return self.parts[-1].source["next_clip"] if self.parts else 0

    @property
    def records(self) -> int:
        return sum(len(part.records) for part in self.parts)


def read_state(folder: Path, name: str, source: dict[str, Any], settings: dict[str, Any]) -> State:
    """What of the video `source` is packed, and how it differs. Raises UserError where a tar is not its index's."""
    indexes = [read_index(path) for path in part_indexes(folder, name)]
    parts = []
    for part, index in enumerate(indexes):
        if index.source.get("part") != part:
            break  # a part is missing: it is made again, and all after it
        check_size(index)
        parts.append(index)
    differences = {line: None for index in indexes for line in compare(index, source, settings)}
    return State(tuple(parts), tuple(differences))


def compare(index: Index, source: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """Each setting, and each mark of the video, that is another than the index's: "max_fps is 24, was 30"."""
    lines = []
    for asked, found in ((source, {key: index.source.get(key) for key in source}), (settings, index.config)):
        for key in sorted(asked.keys() | found.keys()):
            new, old = (json.dumps(values.get(key)) for values in (asked, found))
            if new != old:
                lines.append(f"{key} is {new}, was {old}")
    return lines


def remove_parts(folder: Path, name: str) -> None:
    """Take all shards of this name away: every index first, so that the rest of an old packing never counts."""
    indexes = part_indexes(folder, name)
    try:
        for path in indexes:
            path.unlink()
        for path in indexes:
            path.with_suffix(".tar").unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error


class PartWriter:
    """Writes the records of one video after `state`, each clip's at once; leaving the block forgets the open part."""

    def __init__(self, folder: Path, name: str, source: dict, settings: dict, state: State):
        self.folder, self.name, self.source, self.settings = folder, name, source, settings
        self.part, self.first_clip = len(state.parts), state.next_clip
        self.records = 0
        self._open()

    def __enter__(self) -> "PartWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.writer.__exit__(*error)

    def add(self, clip: int, samples: list[tuple[str, dict[str, bytes]]]) -> None:
        """Append the records (key, members) of a clip, in a new part where the open one is full."""
        try:
            if samples and self.writer.bytes >= self.settings["max_shard_bytes"]:
                self._publish(clip, last=False)
                self.part, self.first_clip = self.part + 1, clip
                self._open()
            for key, members in samples:
                self.writer.add(key, members)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        self.records += len(samples)

    def finish(self, clips: int) -> None:
        """Publish the last part of a video of so many clips."""
        try:
            self._publish(clips, last=True)
        except OSError as error:
            raise unwritable(self.folder, error) from error

    def _open(self) -> None:
        try:
            self.writer = ShardWriter(part_path(self.folder, self.name, self.part))
        except OSError as error:
            raise unwritable(self.folder, error) from error

    def _publish(self, next_clip: int, last: bool) -> None:
        part = {"part": self.part, "last": last, "first_clip": self.first_clip, "next_clip": next_clip}
        self.writer.publish(self.source | part, self.settings)


def remove_leftovers(folder: Path, name: str) -> None:
    """Take away what a packing of this name was writing when it was killed."""
    for path in folder.glob(f"{name}-*.tmp"):
        path.unlink(missing_ok=True)


def unwritable(folder: Path, error: OSError) -> Unwritable:
    if isinstance(error, Unwritable):
        return error
    return Unwritable(
        f"cannot write to {folder}: {error.strerror or error}; what was published stays, "
        f"give it room and write permission or pass another --data-dir, and run the same command again"
    )
