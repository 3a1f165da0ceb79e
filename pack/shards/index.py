"""The index of a shard, `NAME.json` beside `NAME.tar`: where each record is in the tar, and the checksum of the tar.

It holds a format version, the tar's bytes and sha256, and for each record key, offset, length and crc32. An index is
checked whole when it is read, so that no later code sees a forged path, size or range.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from pack.shards.location import Location
from pack.shards.store import read_bytes
from pack.shards.untrusted import check_depth, check_key, parse_object
from tools.cli import UserError, quoted
from tools.cli.files import write_file

VERSION = 1
LARGEST_INDEX = 64 << 20  # bytes: of about 600,000 records
LARGEST_NUMBER = 1 << 62  # of bytes and offsets
FIELDS = {"key", "offset", "length", "crc32"}


@dataclass(frozen=True)
class Entry:
    """The position of a record in its tar, in bytes, and the crc32 of those bytes."""

    key: str
    offset: int
    length: int
    crc32: int


@dataclass(frozen=True)
class Index:
    """The content of `NAME.json`, which describes `NAME.tar`."""

    tar: Location
    bytes: int
    sha256: str
    records: tuple[Entry, ...]
    source: dict[str, Any]  # the video, and which part of it this shard covers
    config: dict[str, Any]  # the settings that the records depend on
    left_out: dict[int, str] = field(default_factory=dict)  # keys of excluded records by position; never written

    @property
    def name(self) -> str:
        return self.tar.stem

    @property
    def path(self) -> Path:
        """The tar of a split in a folder: what is written, moved or read whole is never in an object store."""
        assert isinstance(self.tar, Path)
        return self.tar


def index_path(tar: Path) -> Path:
    return tar.with_suffix(".json")


def write_index(index: Index) -> None:
    """Publish `NAME.json`, whole."""
    fields = {name: value for name, value in asdict(index).items() if name not in ("tar", "left_out")}
    text = json.dumps({"format": "backfill shard", "version": VERSION, "tar": index.tar.name, **fields}, indent=1)
    write_file(index_path(index.path), text.encode() + b"\n")


def read_index(path: Location, size: int | None = None) -> Index:
    """The index at `path`, of `size` bytes where that is known. Raises UserError where it is not a valid one."""
    return parse_index(read_bytes(path, LARGEST_INDEX, size), path)


def parse_index(data: bytes, path: Location) -> Index:
    """The index in `data`, which was read from `path`. Raises UserError where it is not a valid one."""
    tar = path.with_suffix(".tar")
    try:
        fields = parse_object(data, LARGEST_INDEX)
    except UserError as error:
        raise _invalid(path, error) from error
    version, name = fields.get("version"), fields.get("tar")
    if type(version) is int and version != VERSION:
        raise UserError(f"{path}: found index version {quoted(version)}, expected {VERSION}: pack again")
    if isinstance(name, str) and name != tar.name:
        raise UserError(f"{path}: is the index of {quoted(name)}, expected {tar.name}: rename both back")
    try:
        _check_fields(fields)
        records = tuple([_parse_entry(record, fields["bytes"]) for record in fields["records"]])
        _check_ranges(records)
        _check_keys(records)
    except UserError as error:
        raise _invalid(path, error) from error
    return Index(tar, fields["bytes"], fields["sha256"], records, fields["source"], fields["config"])


def _invalid(path: Location, error: UserError) -> UserError:
    return UserError(f"{path}: is not the index of a shard ({error}): copy or pack the shard again")


def _check_fields(fields: dict[str, Any]) -> None:
    kinds = {"version": int, "tar": str, "bytes": int, "sha256": str, "records": list, "source": dict, "config": dict}
    for name, kind in kinds.items():
        if name not in fields:
            raise UserError(f"it has no {name}")
        if type(fields[name]) is not kind:
            raise UserError(f"its {name} is {quoted(fields[name])}, expected {kind.__name__}")
    if not 0 <= fields["bytes"] <= LARGEST_NUMBER:
        raise UserError(f"its bytes are {quoted(fields['bytes'])}")
    if not re.fullmatch(r"[0-9a-f]{64}", fields["sha256"]):
        raise UserError(f"its sha256 is {quoted(fields['sha256'])}, expected 64 hexadecimal digits")
    check_depth([fields["source"], fields["config"]])


def _parse_entry(fields: Any, size: int) -> Entry:
    """The entry with these fields, of a tar of `size` bytes."""
    if not isinstance(fields, dict) or fields.keys() != FIELDS:
        raise UserError(f"found the record {quoted(fields)}, expected key, offset, length and crc32")
    key, offset, length, crc32 = fields["key"], fields["offset"], fields["length"], fields["crc32"]
    check_key(key)
    if not (type(offset) is type(length) is type(crc32) is int) or min(offset, length, crc32) < 0 or crc32 >> 32:
        raise UserError(f"record {key}: found offset, length or crc32 of {quoted((offset, length, crc32))}")
    if offset + length > size:
        raise UserError(f"record {key}: ends at byte {offset + length} of a tar of {size} bytes")
    return Entry(key, offset, length, crc32)


def _check_keys(records: Sequence[Entry]) -> None:
    """Raise UserError where two records have one key: which of them a list excludes would be unknown."""
    keys = {entry.key for entry in records}
    if len(keys) < len(records):
        twice = next(one.key for one, other in pairwise(sorted(records, key=lambda e: e.key)) if one.key == other.key)
        raise UserError(f"two records are called {twice}")


def _check_ranges(records: Sequence[Entry]) -> None:
    """Raise UserError where two records share bytes of the tar."""
    ordered = sorted(records, key=lambda entry: (entry.offset, entry.length))
    for one, other in pairwise(ordered):
        if one.offset + one.length > other.offset:
            raise UserError(f"the ranges of records {one.key} and {other.key} overlap")
