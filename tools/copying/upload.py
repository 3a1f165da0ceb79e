"""Copies one file to a folder or an object store: resumable, verified before it is published, published at once.

On S3 a large file is a multipart upload: the store checks the MD5 of every part, parts that arrived earlier are not
sent again, and the upload is completed only when all bytes together have the sha256 of the index. In a folder a file
grows under a temporary name, which one process at a time writes to, and is read back. In other stores it is written in
one piece under a temporary name, read back and copied to its own.
"""

import base64
import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pack.shards.index import Index
from pack.shards.location import EXTRAS, Location, RemotePath
from pack.shards.store import client, file_size, read_chunks, retry, sha256_at
from tools.cli import MissingFile, UserError
from tools.cli.files import file_sha256, naming, partial_file, sync, sync_folder, write_file

LEAST_PART = 5 << 20  # bytes of a part but the last, by S3's rules
MOST_PARTS = 9000  # of the 10,000 that S3 allows


Progress = Callable[[int], None]  # is called with the bytes that arrived, or that had arrived before
Stamp = dict[str, Any]  # what a store says of the tar that this program has just written; empty where it is not known
# removes the old index, takes the stamp, and writes the new index at its end
Publishing = Callable[[], contextlib.AbstractContextManager[Stamp]]


@dataclass(frozen=True)
class Upload:
    """An unfinished multipart upload, with the bytes and ETag of the parts that arrived."""

    number: str
    parts: dict[int, tuple[int, str]]


def write_tar(shard: Index, target: Location, part_bytes: int, done: Progress, publishing: Publishing) -> None:
    """Copy a shard's tar to `target`. When the copy is verified it gets its name inside `publishing`.

    Raises UserError when the source is not what its index says, OSError or StoreError when either side fails.
    """
    if isinstance(target, Path):
        _write_local(shard, target, part_bytes, done, publishing)
    elif is_s3(target):
        _write_s3(shard, target, max(part_bytes, -(-shard.bytes // MOST_PARTS)), done, publishing)
    else:
        _write_whole(shard, target, part_bytes, done, publishing)


def write_small(target: Location, data: bytes) -> None:
    """Write a small file, whole."""
    if isinstance(target, Path):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_file(target, data)
    elif is_s3(target):
        _call(target, "put_object", Body=data, ContentMD5=_md5(data))
    else:
        retry(lambda: client(target).pipe_file(target.url, data), target)


def remove(target: Location) -> None:
    """Delete a file if there is one."""
    with contextlib.suppress(FileNotFoundError):
        if isinstance(target, Path):
            target.unlink()
        else:
            retry(lambda: client(target).rm_file(target.url), target)


def stamp_of(target: RemotePath) -> Stamp:
    """What a store says of a file: its size, and an ETag or a time by which another file of the name is known."""
    return retry(lambda: client(target).info(target.url), target)


def check_arrived(shard: Index, target: RemotePath, stamp: Stamp) -> None:
    """Raise UserError unless the store has this shard's tar: another program may have written one of this name since.

    Stores have no locks. A file with the stamp of the upload is not read again.
    """
    found = stamp_of(target)
    if found["size"] != shard.bytes:
        raise UserError(f"{target}: found {found['size']} bytes after the upload, expected {shard.bytes}: push again")
    is_ours = bool(stamp) and all(found.get(name) == value for name, value in stamp.items())
    if not is_ours and sha256_at(target, shard.bytes) != shard.sha256:
        raise UserError(
            f"{target}: another program has just written other records under this name: push again when it is done, "
            f"or to another destination"
        )


def leftovers(names: Iterable[str], tars: Iterable[str]) -> list[str]:
    """Those of a folder's names that killed copies of these tars to a store other than S3 have left."""
    pattern = re.compile(rf"(?:{'|'.join(map(re.escape, tars))})\.[0-9a-f]{{8}}\.tmp")
    return [name for name in names if pattern.fullmatch(name)]


def is_s3(location: Location) -> bool:
    return isinstance(location, RemotePath) and EXTRAS.get(location.url.partition("://")[0]) == "s3"


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
        with publishing():
            os.replace(temporary, target)
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
        with publishing() as stamp:
            retry(lambda: client(target).cp_file(temporary.url, target.url), target)
            stamp.update(stamp_of(target))
    except MissingFile:  # another copy of this shard arrived first and took this one for a leftover
        if file_size(target) != shard.bytes or sha256_at(target, shard.bytes) != shard.sha256:
            raise
        with publishing():
            pass
    finally:
        with contextlib.suppress(OSError):  # the error above says what is wrong
            remove(temporary)
    done(shard.bytes)


def _write_s3(shard, target, part_bytes, done, publishing):
    begun = _begun(target)
    if shard.bytes <= part_bytes:
        for upload in begun:
            _abort(target, upload)
        data = b"".join(read_chunks(shard.tar, shard.bytes))
        if hashlib.sha256(data).hexdigest() != shard.sha256:
            raise _differs(shard)
        with publishing() as stamp:
            stamp["ETag"] = _call(target, "put_object", Body=data, ContentMD5=_md5(data))["ETag"]
        done(len(data))
        return
    upload = _choose(shard, target, begun, part_bytes)
    total = hashlib.sha256()
    for number, data in enumerate(read_chunks(shard.tar, shard.bytes, chunk=part_bytes), 1):
        total.update(data)
        if number not in upload.parts:
            _call(target, "upload_part", UploadId=upload.number, PartNumber=number, Body=data, ContentMD5=_md5(data))
        done(len(data))
    if total.hexdigest() != shard.sha256:
        _abort(target, upload)
        raise _differs(shard)
    with publishing() as stamp:
        stamp.update(_complete(target, upload))


def _complete(target: RemotePath, upload: Upload) -> Stamp:
    # the store's own ETags: with some kinds of encryption they are not the MD5 of the part
    parts = [{"PartNumber": n, "ETag": etag} for n, (_, etag) in sorted(_parts(target, upload.number).items())]
    with contextlib.suppress(FileNotFoundError):  # it was completed, and the answer was lost
        answer = _call(target, "complete_multipart_upload", UploadId=upload.number, MultipartUpload={"Parts": parts})
        return {"ETag": answer["ETag"]}
    return {}


def _choose(shard: Index, target: RemotePath, begun: list[Upload], part_bytes: int) -> Upload:
    """The upload to resume, a new one when none has this content; the others are aborted."""
    begun = sorted(begun, key=lambda upload: len(upload.parts))
    chosen = begun.pop() if begun else None
    if chosen and not _matches(shard, chosen, part_bytes):
        begun.append(chosen)
        chosen = None
    for upload in begun:
        _abort(target, upload)
    return chosen or Upload(_call(target, "create_multipart_upload")["UploadId"], {})


def _matches(shard: Index, upload: Upload, part_bytes: int) -> bool:
    """Whether the parts that arrived belong to this tar."""
    chunks = enumerate(read_chunks(shard.tar, shard.bytes, chunk=part_bytes), 1) if upload.parts else ()
    found = set()
    for number, data in chunks:
        if number in upload.parts:
            md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
            if upload.parts[number] != (len(data), f'"{md5}"'):
                return False
            found.add(number)
    return found == set(upload.parts)


def _begun(target: RemotePath) -> list[Upload]:
    """The uploads of this file that were neither completed nor aborted."""
    _, key, _ = client(target).split_path(target.url)
    try:
        found = _call(target, "list_multipart_uploads", key_as="Prefix").get("Uploads", [])
    except FileNotFoundError:  # the answer of some servers for a bucket without uploads
        return []
    return [Upload(u["UploadId"], _parts(target, u["UploadId"])) for u in found if u["Key"] == key]


def _parts(target: RemotePath, number: str) -> dict[int, tuple[int, str]]:
    """Bytes and ETag of the parts that arrived."""
    parts: dict[int, tuple[int, str]] = {}
    marker = 0
    while True:
        answer = _call(target, "list_parts", UploadId=number, PartNumberMarker=marker)
        parts |= {part["PartNumber"]: (part["Size"], part["ETag"]) for part in answer.get("Parts", [])}
        if not answer.get("IsTruncated"):
            return parts
        marker = answer["NextPartNumberMarker"]


def _abort(target: RemotePath, upload: Upload) -> None:
    _call(target, "abort_multipart_upload", UploadId=upload.number)


def _call(target: RemotePath, operation: str, key_as: str = "Key", **arguments: Any) -> Any:
    """The answer of S3 to an operation on this file, tried again after passing failures."""
    store = client(target)
    bucket, key, _ = store.split_path(target.url)
    return retry(lambda: store.call_s3(operation, Bucket=bucket, **{key_as: key}, **arguments), target)


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _differs(shard: Index) -> UserError:
    return UserError(
        f"{shard.tar}: what was read has another sha256 than its index says, nothing of it was published: "
        f"copy or pack the shard again"
    )
