"""Shards: WebDataset tars of records, each with an index that makes it seekable and trustworthy.

The tar is renamed into place first and its index last: a split is every tar that has its index. A record's byte range
is itself a tar stream, so one seek or one ranged read fetches it. A split is a folder, or a prefix of an object store.
"""

import contextlib
import hashlib
import io
import os
import tarfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from zlib_ng import zlib_ng

from pack.shards.index import Entry, Index, index_path, read_index, write_index
from pack.shards.location import SPLITS, Location
from pack.shards.store import StoreError, file_size, list_folder, read_range
from pack.shards.tar_layout import member_info, read_members
from pack.shards.untrusted import CorruptRecord, check_key
from tools.cli import MissingFile, UserError
from tools.cli.files import locked_folder, naming, open_temporary, remove_temporary, sync

Members = dict[str, bytes]  # of a record, by extension
READERS = 16  # indexes that are read from a store at a time


class ShardWriter:
    """A shard that appears whole or not at all.

    with ShardWriter(path) as writer:
        writer.add(key, members)
        writer.publish(source, config)

    Until `publish` everything is in `NAME.tar.PID.RANDOM.tmp`, which leaving the block without publishing deletes.
    """

    def __init__(self, tar: Path):
        self.tar = tar
        self.entries: list[Entry] = []
        tar.parent.mkdir(parents=True, exist_ok=True)
        self.earlier = published_sha256(tar)
        self.temporary, file = open_temporary(tar)
        self.file = _Checked(file, self.temporary)
        # webdataset.TarWriter writes in blocks that do not end with a record, and sorts json behind the images
        self.writer = tarfile.open(  # type: ignore[call-overload] # the stub asks for read and seek, which "w" never calls
            fileobj=self.file, mode="w", format=tarfile.USTAR_FORMAT
        )

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # closing flushes the buffer, which fails on a full disk
            self.file.file.close()
        remove_temporary(self.temporary)

    @property
    def bytes(self) -> int:
        """How many bytes have been written."""
        return self.file.offset

    def add(self, key: str, members: Members) -> None:
        """Append a record. Raises UserError where the key cannot be one, OSError when the disk is full."""
        check_key(key)
        offset = self.file.offset
        self.file.crc32 = 0
        for extension, data in members.items():
            self.writer.addfile(member_info(f"{key}.{extension}", len(data)), io.BytesIO(data))
        self.entries.append(Entry(key, offset, self.file.offset - offset, self.file.crc32))

    def publish(self, source: dict[str, Any], config: dict[str, Any]) -> Index:
        """Rename the tar into place, then its index.

        Raises UserError where another program has published a shard of this name with other content since this one
        was begun: it has reported success, and would be lost.
        """
        self.writer.close()
        with naming(self.temporary):
            sync(self.file.file)
            self.file.file.close()
        index = Index(self.tar, self.file.offset, self.file.sha256.hexdigest(), tuple(self.entries), source, config)
        with locked_folder(self.tar.parent):  # a tar and the index of another one must never meet
            if published_sha256(self.tar) not in ("", self.earlier, index.sha256):
                raise UserError(
                    f"{self.tar}: another program has just published other records under this name: pass another "
                    f"--prefix, or start again when it is done"
                )
            index_path(self.tar).unlink(missing_ok=True)  # an old index must never vouch for a new tar
            os.replace(self.temporary, self.tar)
            write_index(index)
        return index


def published_sha256(tar: Location) -> str:
    """The sha256 in the index of a shard; empty where there is none that is valid.

    Raises OSError or StoreError where it cannot be read: there may be one.
    """
    try:
        return read_index(tar.with_suffix(".json")).sha256
    except StoreError:
        raise
    except (UserError, FileNotFoundError):
        return ""


class _Checked:
    """A file that counts the bytes written to it and computes their checksums."""

    def __init__(self, file: Any, path: Path):
        self.file, self.path, self.offset, self.crc32, self.sha256 = file, path, 0, 0, hashlib.sha256()

    def write(self, data: bytes) -> int:
        with naming(self.path):
            self.file.write(data)
        self.offset += len(data)
        self.crc32 = zlib_ng.crc32(data, self.crc32)
        self.sha256.update(data)
        return len(data)

    def tell(self) -> int:
        return self.offset


def list_shards(split: Location) -> list[Index]:
    """The shards of a split, by name.

    Raises MissingFile when there is none, UserError when an index is not valid or its tar is missing or has another
    size, StoreError when a store refuses or does not answer. A tar without an index was never finished and does not
    count.
    """
    sizes = list_folder(split)
    names = sorted(name for name in sizes if name.endswith(".json") and not name.startswith("."))
    if not names:
        raise MissingFile(f"{split}: holds no shard, expected NAME.tar with NAME.json: {_where_shards_are(split)}")
    if isinstance(split, Path):
        shards = [read_index(split / name) for name in names]
    else:
        with ThreadPoolExecutor(READERS) as pool:
            shards = list(pool.map(lambda name: read_index(split / name, sizes[name]), names))
    for shard in shards:
        _check_found(shard, sizes.get(shard.tar.name))
    return shards


def _where_shards_are(split: Location) -> str:
    """What to do about a folder without shards."""
    if not isinstance(split, Path):
        return f"`make push DEST={split.parent}`"
    inside = [str(split / name) for name in SPLITS if (split / name).is_dir()]
    return f"name a split, {' or '.join(inside)}" if inside else "make them with `make shards`"


def read_shards(tars: Sequence[Location]) -> list[Index]:
    """The shards with these tars, in the order of their names.

    Raises UserError when an index or a tar is missing, else as `list_shards`.
    """

    def read(tar: Location) -> Index:
        try:
            index = read_index(tar.with_suffix(".json"))
        except FileNotFoundError as error:
            raise UserError(f"{tar}: its index {tar.stem}.json is missing: copy both, or shorten the list") from error
        check_size(index)
        return index

    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(read, sorted(tars, key=lambda tar: (tar.name, str(tar)))))


def check_size(shard: Index) -> None:
    """Raise UserError when the tar is missing or has another size than its index says."""
    _check_found(shard, file_size(shard.tar))


def _check_found(shard: Index, found: int | None) -> None:
    if found is None:
        path = shard.tar.with_suffix(".json")
        raise UserError(f"{path}: its tar {shard.tar.name} is missing: copy it again or remove the index")
    if found != shard.bytes:
        raise UserError(f"{shard.tar}: found {found} bytes, its index says {shard.bytes}: copy or pack the shard again")


def read_record(shard: Index, entry: Entry) -> dict[str, bytes]:
    """The members of a record by extension, in one read. Raises CorruptRecord, OSError or StoreError."""
    return parse_record(read_range(shard.tar, entry.offset, entry.length), entry)


def parse_record(data: bytes, entry: Entry) -> dict[str, bytes]:
    """The members of a record in `data`, its byte range of the tar, checked before anything is decoded."""
    if len(data) != entry.length:
        raise CorruptRecord(f"record {entry.key}: read {len(data)} bytes, its index says {entry.length}")
    if zlib_ng.crc32(data) != entry.crc32:
        raise CorruptRecord(f"record {entry.key}: crc32 of what was read differs from its index")
    return read_members(data, entry.key)


def find_record(shards: Iterable[Index], key: str) -> tuple[Index, Entry]:
    """The record `key` and its shard. Raises UserError when no shard has it."""
    for shard in shards:
        for entry in shard.records:
            if entry.key == key:
                return shard, entry
    raise UserError(f"no record {key} in these shards")
