"""Puts a copied tar under its name in an object store, and its index beside it, where other programs may do the same.

Stores have no locks. On S3 a file is written on a condition; elsewhere tar and index are looked at again.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pack.shards.index import LARGEST_INDEX, Index
from pack.shards.location import Location, RemotePath
from pack.shards.shard import published_sha256
from pack.shards.store import ATTEMPTS, client, file_size, pause, read_bytes, retry, sha256_at
from tools.cli import MissingFile, UserError
from tools.cli.files import write_file
from tools.copying import multipart

LOOKS = 5  # at what another program may be publishing, over two seconds or so

Stamp = dict[str, Any]  # what a store says of a file: its size, and an ETag or a time by which another one is known


@dataclass
class Publication:
    """What a store has under the name of a tar, before and after this program writes it."""

    found: Stamp | None = None  # the file that is replaced; None where there is none
    written: Stamp = field(default_factory=dict)  # empty where it is not known

    @property
    def condition(self) -> dict[str, str]:
        """The condition of S3 under which the tar is written: no other program has written one since it was looked."""
        if self.found is None:
            return NEW
        return {"IfMatch": self.found["ETag"]} if "ETag" in self.found else {}


NEW = {"IfNoneMatch": "*"}
# looks what is there, removes the old index, lets the tar be written, and writes the new index at its end
Publishing = Callable[[], contextlib.AbstractContextManager[Publication]]


def write_small(target: Location, data: bytes) -> None:
    """Write a small file, whole."""
    if isinstance(target, Path):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_file(target, data)
    elif multipart.is_s3(target):
        multipart.call(target, "put_object", Body=data, ContentMD5=multipart.md5(data))
    else:
        retry(lambda: client(target).pipe_file(target.url, data), target)


def remove(target: Location) -> None:
    """Delete a file if there is one."""
    with contextlib.suppress(FileNotFoundError):
        if isinstance(target, Path):
            target.unlink()
        else:
            retry(lambda: client(target).rm_file(target.url), target)


def stamp_of(target: RemotePath) -> Stamp | None:
    """What a store says of a file, None where there is none."""
    try:
        return retry(lambda: client(target).info(target.url), target)
    except MissingFile:
        return None


def look(tar: Location) -> tuple[Publication, str]:
    """What is under the name of a tar that is to be written, and the sha256 of the shard there, empty where none is.

    A tar in a store that has no index yet may be another program's: it is given time to publish its shard.
    """
    if isinstance(tar, Path):
        return Publication(), published_sha256(tar)
    for attempt in range(LOOKS):
        found = stamp_of(tar)  # first: the condition then also refuses a shard that comes after the look at its index
        sha256 = published_sha256(tar)
        if found is None or sha256:
            break
        time.sleep(pause(attempt))
    return Publication(found), sha256


def publish_index(shard: Index, tar: RemotePath, data: bytes, stamp: Stamp) -> None:
    """Write the index `data` of a tar that this program has just written to a store.

    Stores have no locks, and another program may be publishing a shard of this name. The tar decides: who wrote the one
    that is there writes its index until that stands, and others withdraw theirs. Raises UserError as `check_arrived`.
    """
    index = tar.with_suffix(".json")
    check_arrived(shard, tar, stamp)
    for attempt in range(ATTEMPTS + 1):
        # a program that was killed does not withdraw its index: in the end that is replaced
        _write_index(index, data, NEW if attempt < ATTEMPTS else {})
        try:
            check_arrived(shard, tar, stamp)
        except UserError:
            _withdraw(index, data)
            raise
        if _small(index) == data:
            return
        time.sleep(pause(attempt))
    raise overtaken(tar)


def _write_index(index: RemotePath, data: bytes, condition: dict[str, str]) -> None:
    """Write an index; on S3 only where the condition holds, so that it does not replace that of another program."""
    if multipart.is_s3(index):
        with contextlib.suppress(multipart.Occupied):
            multipart.put(index, data, condition)
    else:
        write_small(index, data)


def _withdraw(index: RemotePath, data: bytes) -> None:
    """Remove this program's index of a tar that is another's now.

    Where the store knows no conditions the other program may be replacing it at this moment: it is given time, because
    its index must not be removed.
    """
    for attempt in range(LOOKS):
        if _small(index) != data:
            return
        time.sleep(pause(attempt))
    if _small(index) == data:
        remove(index)


def _small(path: RemotePath) -> bytes | None:
    try:
        return read_bytes(path, LARGEST_INDEX)
    except FileNotFoundError:
        return None


def check_arrived(shard: Index, target: RemotePath, stamp: Stamp) -> None:
    """Raise UserError unless the store has this shard's tar: another program may have written one of this name since.

    A file with the stamp of the upload is not read again.
    """
    found = stamp_of(target)
    if found is None:
        raise overtaken(target)
    if found["size"] != shard.bytes:
        raise UserError(f"{target}: found {found['size']} bytes after the upload, expected {shard.bytes}: push again")
    is_ours = bool(stamp) and all(found.get(name) == value for name, value in stamp.items())
    if not is_ours and sha256_at(target, shard.bytes) != shard.sha256:
        raise overtaken(target)


def overtaken(target: RemotePath) -> UserError:
    return UserError(
        f"{target}: another program has just written other records under this name: push again when it is done, "
        f"or to another destination"
    )


def write_if(shard: Index, target: RemotePath, publication: Publication, write: Callable[[], str]) -> None:
    """Write what has a condition; another program may have written the same before, or this one, whose answer was lost.

    Raises UserError where it has written something else.
    """
    try:
        publication.written = {"ETag": write()}
    except multipart.Occupied as error:
        if not is_there(shard, target):
            raise overtaken(target) from error


def is_there(shard: Index, target: Location) -> bool:
    """Whether the location has this shard's tar, which is read."""
    return file_size(target) == shard.bytes and sha256_at(target, shard.bytes) == shard.sha256
