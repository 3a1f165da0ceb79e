"""Copies one file to a folder or an object store: resumable, verified before it is published, published at once.

On S3 a large file is a multipart upload: the store checks the MD5 of every part, parts that arrived earlier are not
sent again, and the upload is completed, of the parts that this program sent or compared, only when all bytes together
have the sha256 of the index. In a folder a file grows under a temporary name, which one process at a time writes to,
and is read back. In other stores it is written in one piece under a temporary name, read back and copied to its own.
"""

import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pack.shards.index import Index
from pack.shards.location import Location
from pack.shards.store import (
    ATTEMPTS,
    client,
    file_size,
    pause,
    read_chunks,
    retry,
    sha256_at,
)
from tools.cli import MissingFile, UserError
from tools.cli.files import file_sha256, is_at, naming, partial_file, sync, sync_folder
from tools.copying import multipart
from tools.copying.publishing import Publishing, is_there, overtaken, remove, stamp_of, write_if

LEAST_PART = 5 << 20  # bytes of a part but the last, by S3's rules
MOST_PARTS = 9000  # of the 10,000 that S3 allows


Progress = Callable[[int], None]  # is called with the bytes that arrived, or that had arrived before


def write_tar(shard: Index, target: Location, part_bytes: int, done: Progress, publishing: Publishing) -> None:
    """Copy a shard's tar to `target`. When the copy is verified it gets its name inside `publishing`.

    Raises UserError when the source is not what its index says, OSError or StoreError when either side fails.
    """
    if isinstance(target, Path):
        _write_local(shard, target, part_bytes, done, publishing)
    elif multipart.is_s3(target):
        _write_s3(shard, target, max(part_bytes, -(-shard.bytes // MOST_PARTS)), done, publishing)
    else:
        _write_whole(shard, target, part_bytes, done, publishing)


def leftovers(names: Iterable[str], tars: Iterable[str]) -> list[str]:
    """Those of a folder's names that killed copies of these tars to a store other than S3 have left."""
    pattern = re.compile(rf"(?:{'|'.join(map(re.escape, tars))})\.[0-9a-f]{{8}}\.tmp")
    return [name for name in names if pattern.fullmatch(name)]


def _write_local(shard, target, part_bytes, done, publishing):
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{shard.sha256[:12]}.tmp")  # never resumed with another content
    with naming(temporary), partial_file(temporary) as file:
        start = min(os.fstat(file.fileno()).st_size, shard.bytes)
        if not start and file_size(target) == shard.bytes and file_sha256(target) == shard.sha256:
            temporary.unlink()  # another process published it while this one waited
            with publishing():
                done(shard.bytes)
            return
        file.truncate(start)
        done(start)
        for data in read_chunks(shard.tar, shard.bytes, start, part_bytes):
            file.write(data)
            done(len(data))
        sync(file)
        if file_sha256(temporary) != shard.sha256:
            temporary.unlink()
            raise _differs(shard)
        try:
            with publishing():
                os.replace(temporary, target)
        except UserError:  # as where another shard has this name: no copy goes on with what was written
            if is_at(file, temporary):
                temporary.unlink()
            raise
    sync_folder(target.parent)


def _write_whole(shard, target, part_bytes, done, publishing):
    temporary = target.parent / f"{target.name}.{secrets.token_hex(4)}.tmp"

    def write() -> None:
        with client(target).open(temporary.url, "wb") as file:
            for data in read_chunks(shard.tar, shard.bytes, chunk=part_bytes):
                file.write(data)

    try:
        retry(write, target)
        if sha256_at(temporary, shard.bytes) != shard.sha256:
            raise _differs(shard)
        with publishing() as publication:
            retry(lambda: client(target).cp_file(temporary.url, target.url), target)
            publication.written = stamp_of(target) or {}
    except MissingFile:  # another copy of this shard arrived first and took this one for a leftover
        if not is_there(shard, target):
            raise
        with publishing():
            pass
    finally:
        with contextlib.suppress(OSError):  # the error above says what is wrong
            remove(temporary)
    done(shard.bytes)


def _has_arrived(shard, target):
    """As is_there; a file that another program is completing is waited for."""
    for attempt in range(ATTEMPTS):
        if file_size(target) is not None:
            return is_there(shard, target)
        time.sleep(pause(attempt))
    return False


def _write_s3(shard, target, part_bytes, done, publishing):
    begun = multipart.begun(target)
    if shard.bytes <= part_bytes:
        data = b"".join(read_chunks(shard.tar, shard.bytes))
        if hashlib.sha256(data).hexdigest() != shard.sha256:
            raise _differs(shard)
        with publishing() as publication:
            write_if(shard, target, publication, lambda: multipart.put(target, data, publication.condition))
        done(len(data))
    else:
        upload = multipart.choose(shard, target, begun, part_bytes)
        try:
            tags, sha256 = multipart.send(shard, target, upload, part_bytes, done)
            if sha256 != shard.sha256:
                multipart.abort(target, upload)
                raise _differs(shard)
            with publishing() as publication:
                condition = publication.condition
                write_if(shard, target, publication, lambda: multipart.complete(target, upload, tags, condition))
        except multipart.UploadGone as error:  # another program that went on with it, too, may have completed it
            if not _has_arrived(shard, target):
                raise overtaken(target) from error
            with publishing():
                pass
        begun = [other for other in begun if other.number != upload.number]
    for other in begun:  # of killed programs; only now, as another may be at work, and one of both must win
        multipart.abort(target, other)


def _differs(shard: Index) -> UserError:
    return UserError(
        f"{shard.tar}: what was read has another sha256 than its index says, nothing of it was published: "
        f"copy or pack the shard again"
    )
