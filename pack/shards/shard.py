"""Shards: WebDataset tars of records, each with an index that makes it seekable and trustworthy.

`NAME.json` beside `NAME.tar` holds a format version, the tar's bytes and sha256, and for each record key, offset,
length and crc32. The tar is renamed into place first and its index last: a split is every tar that has its index.
A record's byte range is itself a tar stream, so one seek or one ranged read fetches it.
"""

import contextlib
import hashlib
import io
import json
import os
import struct
import tarfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zlib_ng import zlib_ng

from tools.cli import MissingFile, UserError
from tools.cli.files import sync, write_file

VERSION = 1
BLOCK = 512  # bytes, which tar counts in
HEADER = struct.Struct("100s 24x 12s 12x 8x c 100x 6s")  # of a POSIX tar: name, size, kind and magic
OWNER = "backfill"  # a fixed owner and time: the same records give the same bytes


class CorruptRecord(UserError):
    """What was read is not what the index says was written."""


@dataclass(frozen=True)
class Entry:
    """Where a record stands in its tar, in bytes, and the crc32 of those bytes."""

    key: str
    offset: int
    length: int
    crc32: int


@dataclass(frozen=True)
class Index:
    """What `NAME.json` says of `NAME.tar`."""

    tar: Path
    bytes: int
    sha256: str
    records: tuple[Entry, ...]
    source: dict[str, Any]  # the video, and which part of it this shard covers
    config: dict[str, Any]  # the settings that the records depend on
    left_out: dict[int, str] = field(default_factory=dict)  # keys of excluded records by place; never written

    @property
    def name(self) -> str:
        return self.tar.stem


def index_path(tar: Path) -> Path:
    return tar.with_suffix(".json")


class ShardWriter:
    """A shard that appears whole or not at all.

    with ShardWriter(path) as writer:
        writer.add(key, members)
        writer.publish(source, config)

    Until `publish` everything is in `NAME.tar.PID.tmp`, which leaving the block without publishing removes.
    """

    def __init__(self, tar: Path):
        self.tar = tar
        self.entries: list[Entry] = []
        self.temporary = tar.with_name(f"{tar.name}.{os.getpid()}.tmp")  # a forgotten process spoils nothing
        tar.parent.mkdir(parents=True, exist_ok=True)
        self.file = _Checked(open(self.temporary, "wb"))
        # webdataset.TarWriter writes in blocks that do not end with a record, and sorts json behind the images
        self.writer = tarfile.open(fileobj=self.file, mode="w", format=tarfile.USTAR_FORMAT)

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # closing writes what is buffered, which a full disk does not take
            self.file.file.close()
        self.temporary.unlink(missing_ok=True)

    @property
    def bytes(self) -> int:
        """How many bytes have been written."""
        return self.file.offset

    def add(self, key: str, members: dict[str, bytes]) -> None:
        """Append a record. Raises OSError when the disk is full."""
        offset = self.file.offset
        self.file.crc32 = 0
        for extension, data in members.items():
            self.writer.addfile(member_info(f"{key}.{extension}", len(data)), io.BytesIO(data))
        self.entries.append(Entry(key, offset, self.file.offset - offset, self.file.crc32))

    def publish(self, source: dict[str, Any], config: dict[str, Any]) -> Index:
        """Rename the tar into place, then its index."""
        self.writer.close()
        sync(self.file.file)
        self.file.file.close()
        index = Index(self.tar, self.file.offset, self.file.sha256.hexdigest(), tuple(self.entries), source, config)
        index_path(self.tar).unlink(missing_ok=True)  # an old index must never vouch for a new tar
        os.replace(self.temporary, self.tar)
        write_index(index)
        return index


def member_info(name: str, size: int) -> tarfile.TarInfo:
    """A tar header in which only name and size differ from one member to the next."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime, info.uname, info.gname = size, 0o444, 0, OWNER, OWNER
    return info


def write_index(index: Index) -> None:
    """Publish `NAME.json`, whole."""
    fields = {name: value for name, value in asdict(index).items() if name not in ("tar", "left_out")}
    text = json.dumps({"format": "backfill shard", "version": VERSION, "tar": index.tar.name, **fields}, indent=1)
    write_file(index_path(index.tar), text.encode() + b"\n")


def read_index(path: Path) -> Index:
    """The index at `path`. Raises UserError when it is not one of ours or of another version."""
    return parse_index(path.read_bytes(), path)


def parse_index(data: bytes, path: Path) -> Index:
    """The index in `data`, which was read from `path`."""
    try:
        fields = json.loads(data)
        if fields["version"] != VERSION:
            raise UserError(f"{path}: found index version {fields['version']}, expected {VERSION}: pack again")
        records = tuple(parse_entry(record) for record in fields["records"])
        tar = path.with_suffix(".tar")
        if fields["tar"] != tar.name:
            raise UserError(f"{path}: is the index of {fields['tar']}, expected {tar.name}: give both their name back")
        return Index(tar, fields["bytes"], fields["sha256"], records, fields["source"], fields["config"])
    except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not the index of a shard ({error!r}): copy or pack the shard again") from error


def parse_entry(fields: dict[str, Any]) -> Entry:
    """The entry with these fields. Raises TypeError when one is missing, unknown or of another type."""
    entry = Entry(**fields)
    numbers = (entry.offset, entry.length, entry.crc32)
    if type(entry.key) is not str or any(type(number) is not int or number < 0 for number in numbers):
        raise TypeError(f"record {fields}")
    return entry


def list_shards(folder: Path) -> list[Index]:
    """The shards of a split, by name.

    Raises MissingFile when there is none and UserError when a tar is missing or has another size than its
    index says; a tar without an index was never finished and does not count.
    """
    if not folder.is_dir():
        raise MissingFile(f"{folder}: no such folder, expected shards: make them with `make shards VIDEO=...`")
    shards = [read_index(path) for path in sorted(folder.glob("*.json"))]
    if not shards:
        raise MissingFile(f"{folder}: holds no shard, expected NAME.tar with NAME.json: make them with `make shards`")
    for shard in shards:
        check_size(shard)
    return shards


def check_size(shard: Index) -> None:
    """Raise UserError when the tar is missing or has another size than its index says."""
    found = shard.tar.stat().st_size if shard.tar.exists() else None
    if found is None:
        raise UserError(
            f"{index_path(shard.tar)}: its tar {shard.tar.name} is missing: copy it again or remove the index"
        )
    if found != shard.bytes:
        raise UserError(f"{shard.tar}: found {found} bytes, its index says {shard.bytes}: copy or pack the shard again")


def read_record(shard: Index, entry: Entry) -> dict[str, bytes]:
    """The members of a record by extension. Raises CorruptRecord or OSError."""
    with open(shard.tar, "rb") as file:
        file.seek(entry.offset)
        data = file.read(entry.length)
    return parse_record(data, entry)


def parse_record(data: bytes, entry: Entry) -> dict[str, bytes]:
    """The members of a record in `data`, its byte range of the tar, checked before anything is decoded."""
    if len(data) != entry.length:
        raise CorruptRecord(f"record {entry.key}: read {len(data)} bytes, its index says {entry.length}")
    if zlib_ng.crc32(data) != entry.crc32:
        raise CorruptRecord(f"record {entry.key}: crc32 of what was read differs from its index")
    return read_members(data, entry.key)


def read_members(data: bytes, expected_key: str) -> dict[str, bytes]:
    """The members of the only record in `data`, as ShardWriter writes it, by extension. Raises CorruptRecord."""
    members, start = {}, 0
    while start < len(data):
        name, size = _read_header(data, start, expected_key)
        key, _, extension = name.partition(".")
        if key != expected_key or extension in members:
            raise CorruptRecord(f"record {expected_key}: found member {name}")
        start += BLOCK
        members[extension] = data[start : start + size]
        start += -(-size // BLOCK) * BLOCK
    if start != len(data):
        raise CorruptRecord(f"record {expected_key}: its range of the tar ends within a member: pack again")
    return members


def _read_header(data, start, key):  # -> name and size of a member; tarfile's reader takes ten times as long
    try:
        name, size, kind, magic = HEADER.unpack_from(data, start)
        if (kind, magic) == (b"0", b"ustar\0"):
            return name.rstrip(b"\0").decode(), int(size.rstrip(b"\0 "), 8)
    except (struct.error, ValueError):
        pass
    # the bytes are those of the index, but the index was made for something else
    raise CorruptRecord(f"record {key}: its range of the tar is not as packing writes it: pack again")


class _Checked:
    """A file that counts and sums what is written to it."""

    def __init__(self, file: Any):
        self.file, self.offset, self.crc32, self.sha256 = file, 0, 0, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.file.write(data)
        self.offset += len(data)
        self.crc32 = zlib_ng.crc32(data, self.crc32)
        self.sha256.update(data)
        return len(data)

    def tell(self) -> int:
        return self.offset


def find_record(shards: Iterable[Index], key: str) -> tuple[Index, Entry]:
    """Where the record `key` stands. Raises UserError when no shard has it."""
    for shard in shards:
        for entry in shard.records:
            if entry.key == key:
                return shard, entry
    raise UserError(f"no record {key} in these shards")
