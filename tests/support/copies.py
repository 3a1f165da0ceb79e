"""Datasets that are copied to and from the bucket of a real S3 server."""

import hashlib
import os

from pack.shards.location import RemotePath
from pack.shards.record import encode
from pack.shards.shard import ShardWriter
from pack.shards.store import client
from tests.support.programs import refused, succeeds
from tests.support.servers import s3
from tests.support.shards import texture_record
from tools import transfer

URL = f"s3://{s3.BUCKET}/data"
PART = 5 << 20


def make_large(folder):
    """A dataset whose only tar has four parts."""
    record = texture_record(0, 1, 64)
    noise = {f"{n:02d}_X.bin": os.urandom(1 << 20) for n in range(17)}
    with ShardWriter(folder / "train" / "a.tar") as writer:
        writer.add(record.key, {**encode(record, "png"), **noise})
        writer.publish({}, {})
    return folder


def content(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".rclone_temp_")  # which the server hides
    }


def unfinished_uploads():
    try:
        return client(RemotePath(URL)).call_s3("list_multipart_uploads", Bucket=s3.BUCKET).get("Uploads", [])
    except FileNotFoundError:  # what this server says when there is none
        return []


def change(name, data):
    """Replace, or remove, a file behind our back."""
    path = RemotePath(f"{URL}/train/{name}")
    if data is None:
        client(path).rm_file(path.url)
    else:
        client(path).pipe_file(path.url, data)


def push(data, *words):
    return succeeds(transfer.main, "-i", data, "-o", URL, *words)


def refused_push(*words):
    return refused(transfer.main, *words)


def repacked(folder, number=7):
    """A dataset whose shard s0-00 has another record than that of `data`."""
    with ShardWriter(folder / "train" / "s0-00.tar") as writer:
        record = texture_record(number, 1, 64)
        writer.add(record.key, encode(record, "png"))
        writer.publish({}, {})
    return folder
