"""Copies that are killed, cut or of damaged files: what is published is whole, and what was sent stays."""

import itertools
import subprocess
import sys
import threading

import pytest

from pack.shards.location import RemotePath
from pack.shards.shard import list_shards
from pack.shards.store import client
from tests.support import ROOT
from tests.support.copies import PART, URL, content, push, refused_push, repacked, unfinished_uploads
from tests.support.programs import succeeds
from tests.support.servers import s3
from tools import transfer


@pytest.mark.parametrize("killed_at", [1, 3, 4])
def test_a_killed_push_goes_on_and_sends_no_more_than_one_part_again(large, store, s3_server, killed_at):
    reached, stay = threading.Event(), threading.Event()

    def hold(request):
        if f"partNumber={killed_at}" in request.path:
            reached.set()
            stay.wait(480)  # the part arrives only when its sender is dead
            return "cut"
        return None

    store.harm = hold
    words = [sys.executable, ROOT / "tools" / "transfer.py", "-i", large, "-o", URL, "--part-bytes", str(PART)]
    process = subprocess.Popen(words)
    assert reached.wait(480)
    process.kill()
    process.wait()
    stay.set()
    store.harm = lambda _: None
    assert not (s3_server[0] / "data").exists() or not content(s3_server[0] / "data")
    sent_before = len(store.sent_parts())
    assert sent_before == killed_at
    push(large, "--part-bytes", PART)
    assert len(store.sent_parts()) - sent_before <= 4 - killed_at + 1
    assert content(s3_server[0] / "data") == content(large) and not unfinished_uploads()


def test_uploads_of_other_content_are_aborted_not_gone_on_with(large, store, s3_server):
    asked = client(RemotePath(URL)).call_s3
    for body in (b"a" * PART, b"b" * 100):
        upload = asked("create_multipart_upload", Bucket=s3.BUCKET, Key="data/train/a.tar")["UploadId"]
        asked("upload_part", Bucket=s3.BUCKET, Key="data/train/a.tar", UploadId=upload, PartNumber=1, Body=body)
    assert len(unfinished_uploads()) == 2
    push(large, "--part-bytes", PART)
    assert content(s3_server[0] / "data") == content(large) and not unfinished_uploads()


def test_a_killed_pull_reads_only_what_is_missing(large, store, tmp_path):
    push(large)
    index = list_shards(large / "train")[0]
    begun = tmp_path / "train" / f"a.tar.{index.sha256[:12]}.tmp"
    begun.parent.mkdir()
    begun.write_bytes(index.tar.read_bytes()[: 2 * PART])
    store.requests.clear()
    succeeds(transfer.main, "-i", URL, "-o", tmp_path, "--part-bytes", PART)
    assert content(tmp_path) == content(large)
    assert [request.range.split("-")[0] for request in store.tar_reads()] == [f"bytes={2 * PART}", f"bytes={3 * PART}"]


def test_faults_on_the_way_do_not_harm_a_copy(large, store, s3_server, tmp_path):
    turns = itertools.cycle([500, None, 503, None, "cut", None])
    store.harm = lambda request: next(turns) if request.method in ("PUT", "POST") else None
    push(large, "--part-bytes", PART)
    assert store.harmed >= 4
    assert content(s3_server[0] / "data") == content(large) and not unfinished_uploads()
    store.harm = s3.some_of_the_reads(0.5)
    succeeds(transfer.main, "-i", URL, "-o", tmp_path, "--part-bytes", PART)
    assert content(tmp_path) == content(large)


def test_a_source_that_is_not_what_its_index_says_is_never_published(large, store, s3_server, tmp_path):
    bad = tmp_path / "data" / "train"
    bad.mkdir(parents=True)
    for path in (large / "train").iterdir():
        (bad / path.name).write_bytes(path.read_bytes())
    with open(bad / "a.tar", "r+b") as file:
        file.seek(6 << 20)
        file.write(b"changed")
    line = refused_push("-i", bad.parent, "-o", URL, "--part-bytes", PART)
    assert "another sha256 than its index says" in line
    assert not list((s3_server[0] / "data").rglob("a.*")) and not unfinished_uploads()
    refused_push("-i", bad.parent, "-o", tmp_path / "copy")
    assert content(tmp_path / "copy") == {}


def test_stores_without_multipart_uploads_are_read_back(data, tmp_path):
    succeeds(transfer.main, "-i", data, "-o", "memory://shelf/data")
    succeeds(transfer.main, "-i", "memory://shelf/data", "-o", tmp_path)
    assert content(tmp_path) == content(data)


@pytest.mark.parametrize("url", [URL, "memory://damaged/data", None])
def test_a_damaged_source_leaves_the_shard_of_the_destination_as_it_was(data, store, tmp_path, url):
    target = url or tmp_path / "copy"
    succeeds(transfer.main, "-i", data, "-o", target)
    other = repacked(tmp_path / "other")
    tar = other / "train" / "s0-00.tar"
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    assert "another sha256 than its index says" in refused_push("-i", other, "-o", target, "--overwrite")
    succeeds(transfer.main, "-i", target, "-o", tmp_path / "back")
    assert content(tmp_path / "back") == content(data)


def test_what_a_killed_copy_left_in_a_store_without_parts_goes_with_the_next_copy(data, tmp_path):
    store, folder = client(RemotePath("memory://killed")), "memory://killed/data/train"
    for name in ("s0-00.tar.0123abcd.tmp", "s0-00.tar.89abcdef.tmp", "other.tar.0123abcd.tmp", "s0-00.tar.mine.tmp"):
        store.pipe_file(f"{folder}/{name}", b"half a tar")
    names = [shard.name for shard in list_shards(data / "train")]
    assert "s0-00" in names
    succeeds(transfer.main, "-i", data, "-o", "memory://killed/data")
    left = {name for name in store.find(folder) if name.endswith(".tmp")}
    assert {name.rpartition("/")[2] for name in left} == {"other.tar.0123abcd.tmp", "s0-00.tar.mine.tmp"}
    assert [shard.name for shard in list_shards(RemotePath(folder))] == names
    succeeds(transfer.main, "-i", "memory://killed/data", "-o", tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))
