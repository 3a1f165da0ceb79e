"""Multipart uploads to S3: parts that arrived earlier are not sent again, and only known parts become the file."""

import base64
import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pack.shards.index import Index
from pack.shards.location import EXTRAS, Location, RemotePath
from pack.shards.store import client, read_chunks, retry
from tools.cli import MissingFile


@dataclass(frozen=True)
class Upload:
    """An unfinished multipart upload, with the bytes and ETag of the parts that arrived."""

    number: str
    parts: dict[int, tuple[int, str]]


class UploadGone(Exception):
    """The upload was completed or aborted, perhaps by another program."""


class Occupied(Exception):
    """The store holds another file of this name than the condition of the request says."""


class _Unconditional(Exception):
    """The store refuses requests with conditions."""


def is_s3(location: Location) -> bool:
    return isinstance(location, RemotePath) and EXTRAS.get(location.url.partition("://")[0]) == "s3"


def choose(shard: Index, target: RemotePath, found: list[Upload], part_bytes: int) -> Upload:
    """The upload to resume, a new one when that with the most parts is empty or has another content."""
    chosen = max(found, key=lambda upload: len(upload.parts), default=None)
    if chosen and chosen.parts and _matches(shard, chosen, part_bytes):
        return chosen
    return Upload(call(target, "create_multipart_upload")["UploadId"], {})


def _matches(shard: Index, upload: Upload, part_bytes: int) -> bool:
    """Whether the parts that arrived belong to this tar."""
    found = set()
    for number, data in enumerate(read_chunks(shard.tar, shard.bytes, chunk=part_bytes), 1):
        if number in upload.parts:
            digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
            if upload.parts[number] != (len(data), f'"{digest}"'):
                return False
            found.add(number)
    return found == set(upload.parts)


def begun(target: RemotePath) -> list[Upload]:
    """The uploads of this file that were neither completed nor aborted."""
    _, key, _ = client(target).split_path(target.url)
    try:
        found = call(target, "list_multipart_uploads", key_as="Prefix").get("Uploads", [])
    except FileNotFoundError:  # the answer of some servers for a bucket without uploads
        return []
    uploads = []
    for number in (upload["UploadId"] for upload in found if upload["Key"] == key):
        with contextlib.suppress(FileNotFoundError):  # its owner has just ended it
            uploads.append(Upload(number, _parts(target, number)))
    return uploads


def _parts(target: RemotePath, number: str) -> dict[int, tuple[int, str]]:
    """Bytes and ETag of the parts that arrived."""
    parts: dict[int, tuple[int, str]] = {}
    marker = 0
    while True:
        answer = call(target, "list_parts", UploadId=number, PartNumberMarker=marker)
        parts |= {part["PartNumber"]: (part["Size"], part["ETag"]) for part in answer.get("Parts", [])}
        if not answer.get("IsTruncated"):
            return parts
        marker = answer["NextPartNumberMarker"]


def send(
    shard: Index, target: RemotePath, upload: Upload, part_bytes: int, done: Callable[[int], None]
) -> tuple[dict[int, str], str]:
    """Send the missing parts; the ETag of each part, and the sha256 of all bytes. Raises UserError and UploadGone."""
    total, tags = hashlib.sha256(), {number: tag for number, (_, tag) in upload.parts.items()}
    for number, data in enumerate(read_chunks(shard.tar, shard.bytes, chunk=part_bytes), 1):
        total.update(data)
        if number not in tags:
            words: dict[str, Any] = {
                "UploadId": upload.number,
                "PartNumber": number,
                "Body": data,
                "ContentMD5": md5(data),
            }
            try:
                tags[number] = call(target, "upload_part", **words)["ETag"]
            except MissingFile as error:
                raise UploadGone from error
        done(len(data))
    return tags, total.hexdigest()


def complete(target: RemotePath, upload: Upload, tags: dict[int, str], condition: dict[str, str]) -> str:
    """Make the file of its parts; its ETag. Raises Occupied, and UploadGone also where only the answer was lost."""
    # what the store answered to this program: it refuses parts that another one has replaced since
    parts = [{"PartNumber": number, "ETag": tag} for number, tag in sorted(tags.items())]
    words: dict[str, Any] = {"UploadId": upload.number, "MultipartUpload": {"Parts": parts}}
    try:
        return call_if(condition, target, "complete_multipart_upload", **words)["ETag"]
    except Occupied:
        abort(target, upload)
        raise
    except MissingFile as error:
        raise UploadGone from error


def put(target: RemotePath, data: bytes, condition: dict[str, str]) -> str:
    """Write a whole file; its ETag. Raises Occupied."""
    return call_if(condition, target, "put_object", Body=data, ContentMD5=md5(data))["ETag"]


def abort(target: RemotePath, upload: Upload) -> None:
    with contextlib.suppress(FileNotFoundError):  # its owner has just ended it
        call(target, "abort_multipart_upload", UploadId=upload.number)


def call(target: RemotePath, operation: str, key_as: str = "Key", **arguments: Any) -> Any:
    """The answer of S3 to an operation on this file, tried again after passing failures."""
    return retry(_request(target, operation, key_as, **arguments), target)


def _request(target: RemotePath, operation: str, key_as: str = "Key", **arguments: Any) -> Callable[[], Any]:
    """A function that sends one request on this file to S3 and returns the answer."""
    store = client(target)
    bucket, key, _ = store.split_path(target.url)
    return partial(store.call_s3, operation, Bucket=bucket, **{key_as: key}, **arguments)


def call_if(condition: dict[str, str], target: RemotePath, operation: str, **arguments: Any) -> Any:
    """As `call`, where the store holds what `condition` says: IfNoneMatch "*" for no file, IfMatch for that ETag.

    Amazon's S3 checks conditions of writes since 2024. Other servers may ignore or refuse them: then this is `call`.
    Raises Occupied.
    """
    request = _request(target, operation, **arguments, **condition)

    def act() -> Any:
        try:
            return request()
        except OSError as error:
            answer = getattr(error.__cause__, "response", {}).get("Error", {}).get("Code")
            if answer in ("PreconditionFailed", "412") or (answer == "NoSuchKey" and "IfMatch" in condition):
                raise Occupied from error
            if answer in ("NotImplemented", "501"):
                raise _Unconditional from error
            raise

    try:
        return retry(act, target)
    except _Unconditional:
        return call(target, operation, **arguments)


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
