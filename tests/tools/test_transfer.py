"""Copying splits to and from a real S3 server."""

import contextlib
import hashlib
import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pack.shards.record import encode
from pack.shards.shard import ShardWriter, list_shards
from pack.shards.store import RemotePath, client, list_folder, sha256_at
from tests.support import ROOT
from tests.support.programs import refused, succeeds
from tests.support.servers import s3
from tests.support.shards import make_data, make_split, texture_record
from tools import transfer
from tools.cli.files import locked
from tools.copying import upload

URL = f"s3://{s3.BUCKET}/data"
PART = 5 << 20


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("transfer") / "data", records=4, frames=1, size=64)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A split with one tar of four parts."""
    folder = tmp_path_factory.mktemp("large") / "data"
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


def test_what_is_pushed_and_pulled_is_the_same_to_the_last_byte(data, store, s3_server, tmp_path):
    assert "got 3 shards" in push(data)
    assert content(s3_server[0] / "data") == content(data)
    succeeds(transfer.main, "-i", URL, "-o", tmp_path / "back", "--read-back")
    assert content(tmp_path / "back") == content(data)
    assert list_shards(tmp_path / "back" / "train") == [
        type(index)(**{**vars(index), "tar": tmp_path / "back" / "train" / index.tar.name})
        for index in list_shards(data / "train")
    ]


def test_a_second_push_sends_nothing(data, store):
    push(data)
    store.requests.clear()
    assert "got 0 shards with 0.0 MB, had 3 already" in push(data)
    assert not [request for request in store.requests if request.method in ("PUT", "POST", "DELETE")]


def test_one_split_alone_can_be_copied(data, store, s3_server):
    push(data, "--split", "eval")
    assert [path.name for path in (s3_server[0] / "data").iterdir()] == ["eval"]


def test_only_the_shard_that_differs_is_sent_and_its_tar_before_its_index(data, store, s3_server):
    push(data)
    change("s0-01.tar", b"other")
    store.requests.clear()
    assert "got 1 shard with" in push(data)
    changes = [(r.method, r.path.rpartition("/")[2]) for r in store.requests if r.method in ("PUT", "DELETE")]
    assert changes == [("DELETE", "s0-01.json"), ("PUT", "s0-01.tar"), ("PUT", "s0-01.json")]
    assert content(s3_server[0] / "data") == content(data)


def test_a_tar_without_its_index_is_read_before_it_is_believed(data, store, s3_server):
    push(data)
    change("s0-00.json", None)
    change("s0-00.tar", b"x" * (data / "train" / "s0-00.tar").stat().st_size)
    push(data)
    assert content(s3_server[0] / "data") == content(data)


def test_a_copy_by_another_program_is_as_good(data, store, s3_server, tmp_path):
    remote = f":s3,provider=Rclone,env_auth=true,endpoint='{store.url}':{s3.BUCKET}/data"
    subprocess.run([s3.rclone(), "copy", "--config", os.devnull, data, remote], check=True, timeout=60)
    store.requests.clear()
    assert "got 0 shards with 0.0 MB, had 3 already" in push(data)
    assert [index.name for index in list_shards(RemotePath(f"{URL}/train"))] == ["s0-00", "s0-01"]


@pytest.mark.parametrize("killed_at", [1, 3, 4])
def test_a_killed_push_goes_on_and_sends_no_more_than_one_part_again(large, store, s3_server, killed_at):
    reached, stay = threading.Event(), threading.Event()

    def hold(request):
        if f"partNumber={killed_at}" in request.path:
            reached.set()
            stay.wait(30)  # the part arrives only when its sender is dead
            return "cut"
        return None

    store.harm = hold
    words = [sys.executable, ROOT / "tools" / "transfer.py", "-i", large, "-o", URL, "--part-bytes", str(PART)]
    process = subprocess.Popen(words)
    assert reached.wait(60)
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


def test_delete_says_what_it_would_do_and_does_it_only_with_yes(data, store, s3_server, tmp_path):
    push(data)
    fewer = make_split(tmp_path / "train", records=4, shards=1, frames=1, size=64).parent
    out = push(fewer, "--delete", "--overwrite")
    assert f"would delete {URL}/train/s0-01.json\nwould delete {URL}/train/s0-01.tar\nnothing was deleted" in out
    assert (s3_server[0] / "data" / "train" / "s0-01.tar").exists()
    push(fewer, "--delete", "--yes")
    assert content(s3_server[0] / "data" / "train") == content(fewer / "train")
    assert content(s3_server[0] / "data" / "eval") == content(data / "eval")  # a split that was not copied


def test_each_mistake_is_one_line_and_loses_nothing(data, store, s3_server, tmp_path):
    before = content(data)
    assert "is inside the source" in refused_push("-i", data, "-o", data / "train" / "copy")
    assert "is inside the source" in refused_push("-i", URL, "-o", f"{URL}/x")
    assert "no such object or bucket" in refused_push("-i", data, "-o", "s3://nowhere/data")
    assert "no such object or bucket" in refused_push("-i", "s3://nowhere/data", "-o", tmp_path)
    assert "holds no shard" in refused_push("-i", f"s3://{s3.BUCKET}/empty", "-o", tmp_path)
    assert "holds no shard" in refused_push("-i", tmp_path, "-o", URL)
    store.harm = lambda request: 403 if request.method in ("PUT", "POST") else None
    assert "the store refuses (Access Denied)" in refused_push("-i", data, "-o", URL)
    store.harm = lambda _: None
    assert content(data) == before and not content(s3_server[0])
    push(data)
    change("s0-00.tar", None)
    line = refused_push("-i", URL, "-o", tmp_path / "copy")
    assert f"{URL}/train/s0-00.json: its tar s0-00.tar is missing" in line and not (tmp_path / "copy").exists()


def test_wrong_credentials_end_a_copy_in_one_line_without_them(data, store, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrongsecret0000000000")
    line = refused_push("-i", data, "-o", URL)
    assert "the store refuses" in line and "wrongsecret" not in line and s3.KEY not in line
    for secret in (f"s3://user:hunter2@{s3.BUCKET}/x", f"s3://{s3.BUCKET}/x?sig=hunter2", "s3://user:hu/nter2@b/x"):
        line = refused_push("-i", data, "-o", secret)
        assert "a user, a password or a query" in line and "hunter2" not in line and "nter2" not in line
    line = refused_push("-i", data, "-o", URL, "--endpoint-url", "http://user:hunter2@127.0.0.1:1")
    assert "--endpoint-url is a http:// URL" in line and "hunter2" not in line


def test_stores_without_multipart_uploads_are_read_back(data, tmp_path):
    succeeds(transfer.main, "-i", data, "-o", "memory://shelf/data")
    succeeds(transfer.main, "-i", "memory://shelf/data", "-o", tmp_path)
    assert content(tmp_path) == content(data)


def repacked(folder, number=7):
    """A dataset whose shard s0-00 has another record than that of `data`."""
    with ShardWriter(folder / "train" / "s0-00.tar") as writer:
        record = texture_record(number, 1, 64)
        writer.add(record.key, encode(record, "png"))
        writer.publish({}, {})
    return folder


@pytest.mark.parametrize("url", [URL, "memory://overwrite/data", None])
def test_another_shard_of_the_same_name_is_replaced_only_with_overwrite(data, store, tmp_path, url):
    target = url or tmp_path / "copy"
    succeeds(transfer.main, "-i", data, "-o", target)
    other = repacked(tmp_path / "other")
    line = refused_push("-i", other, "-o", target)
    assert "s0-00.tar: is another shard than the source's of the same name: pass --overwrite" in line
    succeeds(transfer.main, "-i", target, "-o", tmp_path / "back")
    assert content(tmp_path / "back") == content(data)
    assert "got 1 shard with" in succeeds(transfer.main, "-i", other, "-o", target, "--overwrite")
    succeeds(transfer.main, "-i", target, "-o", tmp_path / "back", "--overwrite")
    assert content(tmp_path / "back") == content(data) | content(other)


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


def test_pulls_of_one_shard_at_once_publish_what_was_pushed(large, store, tmp_path):
    push(large)
    words = [sys.executable, ROOT / "tools" / "transfer.py", "-i", URL, "-o", tmp_path, "--part-bytes", str(PART)]
    pulls = [subprocess.Popen(words, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [pull.wait(120) for pull in pulls] == [0, 0, 0]
    assert content(tmp_path) == content(large)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_shard_that_arrives_during_a_pull_is_replaced_only_with_overwrite(data, tmp_path, monkeypatch, overwrite):
    arrives, sha256_of = [True], upload.file_sha256

    def verify(path):  # what a pull does before it publishes
        if arrives:
            arrives.clear()
            repacked(tmp_path / "copy")
        return sha256_of(path)

    monkeypatch.setattr(upload, "file_sha256", verify)
    if overwrite:
        succeeds(transfer.main, "-i", data, "-o", tmp_path / "copy", "--overwrite", "--jobs", 1)
        assert content(tmp_path / "copy") == content(data)
        return
    line = refused_push("-i", data, "-o", tmp_path / "copy", "--jobs", 1)
    assert "s0-00.tar: is another shard than the source's of the same name: pass --overwrite" in line
    assert content(repacked(tmp_path / "other")).items() <= content(tmp_path / "copy").items()


def test_a_tar_and_its_index_are_published_under_one_lock(data, tmp_path, monkeypatch):
    held = []

    def checked(function):
        def call(*arguments):
            with locked(arguments[-1].parent if function is os.replace else arguments[0].parent, wait=False) as free:
                held.append(not free)
            return function(*arguments)

        return call

    monkeypatch.setattr(transfer, "remove", checked(transfer.remove))
    monkeypatch.setattr(upload.os, "replace", checked(os.replace))
    monkeypatch.setattr(transfer, "write_small", checked(transfer.write_small))
    succeeds(transfer.main, "-i", data, "-o", tmp_path / "copy", "--overwrite")
    assert len(held) >= 9 and all(held)


@pytest.mark.parametrize("url", [URL, "memory://two-pushes/data"])
def test_of_two_pushes_at_once_no_index_stands_by_the_tar_of_the_other(data, store, tmp_path, monkeypatch, url):
    """Whether the other one's tar, or its tar and index, arrive just before or just after our index."""
    other = make_data(tmp_path / "other", records=4, frames=1, size=72)
    for number, (moment, names) in enumerate(itertools.product(("before", "after"), (["tar"], ["tar", "json"]))):
        place = RemotePath(f"{url}{number}")

        def push_both(target, content, moment=moment, names=names):
            intruders = names if target.name == "s0-00.json" else []
            if moment == "after":
                upload.write_small(target, content)
            for suffix in intruders:
                upload.write_small(target.with_suffix(f".{suffix}"), (other / "train" / f"s0-00.{suffix}").read_bytes())
            if moment == "before":
                upload.write_small(target, content)

        with monkeypatch.context() as patch:
            patch.setattr(transfer, "write_small", push_both)
            line = refused_push("-i", data, "-o", place.url, "--split", "train")
        assert "s0-00.tar: another program has just written other records under this name: push again" in line
        found = list_folder(place / "train")
        for index in list_shards(place / "train") if any(name.endswith(".json") for name in found) else []:
            assert sha256_at(index.tar, index.bytes) == index.sha256
        assert ("s0-00.json" in found) == ((moment, names) == ("after", ["tar", "json"]))


def test_a_file_that_is_deleted_while_a_folder_is_listed_is_not_there(data, tmp_path, monkeypatch):
    succeeds(transfer.main, "-i", data, "-o", tmp_path / "copy")
    listed = os.scandir

    def raced(folder):
        entries = list(listed(folder))
        Path(folder, "gone.tmp").unlink(missing_ok=True)
        return contextlib.nullcontext(entries)

    (tmp_path / "copy" / "train" / "gone.tmp").write_bytes(b"")
    monkeypatch.setattr("pack.shards.store.os.scandir", raced)
    assert "gone.tmp" not in list_folder(tmp_path / "copy" / "train")
    monkeypatch.undo()
    monkeypatch.setattr(transfer, "list_files", lambda _: {"s0-00.json": 1, "s0-00.tar": 1})
    assert len(transfer.compare(data / "train", tmp_path / "new").lacking) == 2


@pytest.mark.parametrize("name", ["../evil", "train/../../evil", "/evil", "train//evil", "./evil"])
def test_a_name_from_a_listing_is_never_a_path(data, tmp_path, monkeypatch, name):
    succeeds(transfer.main, "-i", data, "-o", "memory://names/data")
    index = next((data / "train").glob("*.json")).read_bytes()
    found = {"/names/data/" + name + ".json": {"size": len(index)}}
    monkeypatch.setattr(type(client(RemotePath("memory://names"))), "find", lambda *_, **__: found)
    line = refused_push("-i", "memory://names/data", "-o", tmp_path / "deep" / "down")
    assert "cannot be a file name" in line and not list(tmp_path.iterdir())


def test_a_url_in_a_message_shows_neither_user_nor_password_nor_query(data):
    for text in (
        "s3:/user:hunter2@bucket/x",
        "s3:user:hunter2@b",
        "https:/b/x?sig=hunter2",
        "nope://u:hunter2@b/x?hunter2",
    ):
        assert "hunter2" not in refused_push("-i", data, "-o", text)
        assert "hunter2" not in refused_push("-i", text, "-o", data)
    assert "hunter2" not in refused_push("-i", data, "-o", URL, "--endpoint-url", "s3:/user:hunter2@host")


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


@pytest.mark.parametrize("arrived", [True, False])
def test_a_copy_whose_unfinished_file_another_copy_deletes_ends_well_if_the_shard_has_arrived(
    data, monkeypatch, arrived
):
    url = f"memory://raced-{arrived}/data"
    store, copy = client(RemotePath(url)), type(client(RemotePath(url))).cp_file

    def raced(self, one, other, **options):
        if arrived:
            copy(self, one, other, **options)
        store.rm_file(one)
        return copy(self, one, other, **options)

    monkeypatch.setattr(type(store), "cp_file", raced)
    if arrived:
        succeeds(transfer.main, "-i", data, "-o", url)
        assert len(list_shards(RemotePath(f"{url}/train"))) == len(list_shards(data / "train"))
    else:
        assert "no such object" in refused(transfer.main, "-i", data, "-o", url)
