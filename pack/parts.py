"""The shards of one video: `NAME-00000.tar`, `NAME-00001.tar`, ..., each published when it is full.

A part ends with a clip, and its index holds the number of the next clip: a packing that was killed resumes there.
"""

import contextlib
import errno
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pack.config import BEFORE
from pack.shards.index import Index, read_index
from pack.shards.shard import ShardWriter, check_size
from tools.cli import UserError, files


class Unwritable(UserError, OSError):
    """The split folder cannot be written to. Fatal: other videos would fail too."""


def part_path(folder: Path, name: str, part: int) -> Path:
    return folder / f"{name}-{part:05d}.tar"


def part_indexes(folder: Path, name: str) -> list[Path]:
    """The indexes of the video's parts, sorted; parts between them may be missing."""
    return sorted(path for path in folder.glob(f"{name}-*.json") if re.fullmatch(r"\d{5,}", path.stem[len(name) + 1 :]))


@dataclass(frozen=True)
class Difference:
    """A setting, or a field of a video's fingerprint, that is another than when the video was packed."""

    name: str
    now: str  # as JSON
    then: str

    def __str__(self) -> str:
        return f"{self.name} is {self.now}, was {self.then}"


@dataclass(frozen=True)
class State:
    """What the split already holds of a video."""

    parts: tuple[Index, ...]  # from 0 on, without a gap
    differences: "tuple[Difference, ...]"  # from the present source and settings; if any, the video is not packed

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
    """The state of the video with fingerprint `source`.

    Raises UserError where an index or tar is damaged or missing.
    """
    indexes = [read_index(path) for path in part_indexes(folder, name)]
    parts = []
    for part, index in enumerate(indexes):
        if index.source.get("part") != part:
            break  # a part is missing: it and all later ones are packed again
        check_size(index)
        _check_part(index, parts[-1] if parts else None)
        parts.append(index)
    differences = {difference: None for index in indexes for difference in compare(index, source, settings)}
    return State(tuple(parts), tuple(differences))


def _check_part(index: Index, before: Index | None) -> None:
    """Raise UserError where the clips of a part are not numbers that follow those of the part before."""
    last, first, following = (index.source.get(name) for name in ("last", "first_clip", "next_clip"))
    start = before.source["next_clip"] if before else 0
    if type(last) is not bool or type(following) is not int or first != start or following < start:
        raise UserError(
            f"{index.tar.with_suffix('.json')} is damaged (clips {first!r:.30} to {following!r:.30}, "
            f"expected clips from {start} on): remove it and its tar, or copy both again"
        )


def compare(index: Index, source: dict[str, Any], settings: dict[str, Any]) -> list[Difference]:
    """What differs from the index. A setting that it lacks had the value that stands for packing before the setting."""
    differences = []
    for present, packed in (
        (source, {key: index.source.get(key) for key in source}),
        (BEFORE | settings, BEFORE | index.config),
    ):
        for key in sorted(present.keys() | packed.keys()):
            now, then = (json.dumps(values.get(key)) for values in (present, packed))
            if json.loads(now) != json.loads(then):  # 0 and 0.0 are the same
                differences.append(Difference(key, now, then))
    return differences


def remove_parts(folder: Path, name: str) -> None:
    """Delete all shards of this name: every index first, so that a tar left over by a kill is not read."""
    indexes = part_indexes(folder, name)
    with reporting_unwritable(folder):
        for path in indexes:
            path.unlink()
        for path in indexes:
            path.with_suffix(".tar").unlink(missing_ok=True)


class PartWriter:
    """Writes the records of one video that `state` lacks; a part not published at the end is deleted."""

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
        """Append the records (key, members) of a clip; if the current part is full, it is published first."""
        with reporting_unwritable(self.folder):
            if samples and self.writer.bytes >= self.settings["max_shard_bytes"]:
                self._publish(clip, last=False)
                self.part, self.first_clip = self.part + 1, clip
                self._open()
            for key, members in samples:
                self.writer.add(key, members)
        self.records += len(samples)

    def finish(self, clips: int) -> None:
        """Publish the last part of a video with this number of clips."""
        with reporting_unwritable(self.folder):
            self._publish(clips, last=True)

    def _open(self) -> None:
        with reporting_unwritable(self.folder):
            self.writer = ShardWriter(part_path(self.folder, self.name, self.part))

    def _publish(self, next_clip: int, last: bool) -> None:
        part = {"part": self.part, "last": last, "first_clip": self.first_clip, "next_clip": next_clip}
        self.writer.publish(self.source | part, self.settings)


def remove_leftovers(folder: Path, name: str) -> None:
    """Delete the unfinished files of packings of this name that were killed, not those of a running one."""
    if folder.is_dir():
        with reporting_unwritable(folder):
            files.remove_leftovers(folder, rf"{re.escape(name)}-\d+\.(tar|json)")


@contextlib.contextmanager
def reporting_unwritable(folder: Path) -> Iterator[None]:
    """Turn the operating system's errors inside the block into Unwritable."""
    try:
        yield
    except OSError as error:
        if isinstance(error, Unwritable) or error.errno is None:
            raise
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            raise Unwritable(f"{folder} is a file or below one: pass another --data-dir, a folder") from error
        raise Unwritable(
            f"cannot write to {folder} ({error.strerror}): published shards are kept; free disk space, give write "
            f"permission or pass another --data-dir, and run the same command again"
        ) from error
