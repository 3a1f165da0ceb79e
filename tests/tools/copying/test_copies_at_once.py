"""Copies to one place at the same time, by real processes: one wins, or all end well; nothing is lost."""

import hashlib
import shutil
import subprocess
import sys
import time

import pytest

from pack.shards.exclusion import LIST, change_list, read_keys
from pack.shards.location import RemotePath
from pack.shards.store import client
from tests.support import ROOT
from tests.support.copies import PART, URL, content, push, refused_push, repacked, unfinished_uploads
from tests.support.programs import succeeds
from tests.support.servers import s3
from tests.support.shards import make_split
from tools import transfer
from tools.copying import publishing


def start_push(data):
    words = [sys.executable, ROOT / "tools" / "transfer.py", "-i", data, "-o", URL, "--part-bytes", str(PART)]
    return subprocess.Popen([*words, "--split", "train"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def push_together(store, folders, is_last):
    """Statuses and lines of pushes; each waits at the first request that `is_last`, until all have come there."""
    came, pushes = [], []

    def hold(request):
        if is_last(request) and len(came) < len(folders):
            came.append(request)
            while len(came) < len(folders) and all(push.poll() is None for push in pushes):
                time.sleep(0.02)

    store.harm = hold
    pushes += [start_push(folder) for folder in folders]
    # one that takes long also says how far it is
    said = [push.communicate(timeout=480)[1].splitlines(keepends=True) for push in pushes]
    lines = ["".join(line for line in one if not line.startswith("copy ")) for one in said]
    return [push.returncode for push in pushes], lines


def is_index(request):
    return request.method == "PUT" and request.path.endswith(".json")


def is_tar(request):
    return request.method == "PUT" and request.path.endswith(".tar")


@pytest.mark.parametrize("is_last", [is_tar, is_index])
def test_of_two_pushes_of_different_shards_at_once_exactly_one_wins(store, s3_server, tmp_path, is_last):
    store.root = s3_server[0].parent
    folders = [make_split(tmp_path / str(size) / "train", 1, shards=1, frames=1, size=size).parent for size in (64, 72)]
    statuses, lines = push_together(store, folders, is_last)
    assert sorted(statuses) == [0, 2], lines
    winner = statuses.index(0)
    assert lines[winner] == "" and lines[1 - winner].count("\n") == 1 and "push again" in lines[1 - winner]
    assert content(s3_server[0] / "data") == content(folders[winner])


@pytest.mark.parametrize("replaced", [True, False])
def test_an_index_that_the_winner_replaces_meanwhile_is_not_withdrawn(store, monkeypatch, replaced):
    """Where the store knows no conditions, two programs may write one index."""
    index = RemotePath(f"{URL}/train/a.json")
    publishing.write_small(index, b"ours")

    def pause(_):
        if replaced:
            publishing.write_small(index, b"theirs")
        return 0

    monkeypatch.setattr(publishing, "pause", pause)
    publishing._withdraw(index, b"ours")
    assert publishing._small(index) == (b"theirs" if replaced else None)


@pytest.mark.parametrize("alive", [True, False])
def test_a_tar_without_an_index_is_replaced_only_when_none_comes(data, store, s3_server, tmp_path, monkeypatch, alive):
    other, place = make_split(tmp_path / "other", 1, shards=1, frames=1, size=72), s3_server[0] / "data" / "train"
    place.mkdir(parents=True)
    shutil.copy(next(other.glob("*.tar")), place / "s0-00.tar")

    def pause(_):
        if alive:
            publishing.write_small(RemotePath(f"{URL}/train/s0-00.json"), next(other.glob("*.json")).read_bytes())
        return 0

    monkeypatch.setattr(publishing, "pause", pause)
    if alive:
        assert "is another shard than the source's" in refused_push("-i", data, "-o", URL, "--split", "train")
        found = content(place)
        assert [found[f"s0-00.{suffix}"] for suffix in ("json", "tar")] == list(content(other).values())
    else:
        push(data, "--split", "train")
        assert content(place) == content(data / "train")


@pytest.mark.parametrize("name", ["data", "large"])
@pytest.mark.parametrize("conditions", [True, False])
def test_a_tar_that_arrives_just_before_ours_is_replaced_only_where_the_store_knows_no_conditions(
    store, s3_server, tmp_path, request, name, conditions
):
    """A push that has ended well keeps its records, if another one was about to write as it ended."""
    ours = request.getfixturevalue(name)
    tar = next((ours / "train").glob("*.tar")).name
    other = make_split(tmp_path / "other", 1, shards=1, frames=1, size=72)
    arrived = {tar: next(other.glob("*.tar")), tar.replace(".tar", ".json"): next(other.glob("*.json"))}
    store.root = s3_server[0].parent if conditions else None

    def harm(asked):
        is_write = asked.method == "PUT" if name == "data" else asked.method == "POST" and "uploadId" in asked.path
        if is_write and arrived and asked.path.partition("?")[0].endswith(tar):
            for file, source in arrived.items():
                shutil.copy(source, s3_server[0] / "data" / "train" / file)
            arrived.clear()

    (s3_server[0] / "data" / "train").mkdir(parents=True)
    store.harm = harm
    if conditions:
        assert "another program has just written other records" in refused_push(
            "-i", ours, "-o", URL, "--split", "train"
        )
        found = content(s3_server[0] / "data" / "train")
        assert found[tar] == hashlib.sha256(next(other.glob("*.tar")).read_bytes()).hexdigest()
        assert not unfinished_uploads()
    else:
        push(ours, "--split", "train")
        assert content(s3_server[0] / "data" / "train") == content(ours / "train")


def test_a_store_that_refuses_conditions_is_written_without_them(data, large, store, s3_server):
    store.harm = lambda asked: 501 if asked.condition else None
    for dataset in (data, large):
        push(dataset)
        assert content(dataset).items() <= content(s3_server[0] / "data").items()
    assert store.harmed


def test_an_answer_that_is_lost_does_not_make_a_push_its_own_rival(data, store, s3_server):
    store.root, lost = s3_server[0].parent, []

    def harm(asked):
        if asked.method == "PUT" and asked.path.endswith(".tar") and asked.path not in lost:
            lost.append(asked.path)
            return "lost"
        return None

    store.harm = harm
    push(data)
    assert store.harmed == len(lost) > 0 and content(data) == content(s3_server[0] / "data")


@pytest.mark.parametrize("place", ["partNumber=3", "index"])
def test_two_pushes_of_the_same_shard_at_once_end_well(large, store, s3_server, place):
    if place == "index":
        is_last = is_index
    else:  # with parts of a killed push, which both go on with
        begin_upload(large)
        is_last = lambda request: request.method == "PUT" and place in request.path  # noqa: E731
    statuses, lines = push_together(store, [large, large], is_last)
    assert (statuses, lines) == ([0, 0], ["", ""])
    assert content(s3_server[0] / "data") == content(large) and not unfinished_uploads()


def begin_upload(folder):
    """The first part of the upload of a killed push."""
    with open(folder / "train" / "a.tar", "rb") as file:
        asked, key = client(RemotePath(URL)).call_s3, "data/train/a.tar"
        upload = asked("create_multipart_upload", Bucket=s3.BUCKET, Key=key)["UploadId"]
        asked("upload_part", Bucket=s3.BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=file.read(PART))


def test_an_upload_without_parts_may_be_of_another_content_and_is_not_gone_on_with(large, store, s3_server):
    asked = client(RemotePath(URL)).call_s3
    other = asked("create_multipart_upload", Bucket=s3.BUCKET, Key="data/train/a.tar")["UploadId"]
    push(large, "--part-bytes", PART)
    assert store.sent_parts() and not any(f"uploadId={other}" in request.path for request in store.sent_parts())
    assert content(s3_server[0] / "data") == content(large) and not unfinished_uploads()


@pytest.mark.parametrize("url", [URL, "memory://arrived/data"])
def test_a_shard_that_arrives_during_a_push_is_replaced_only_with_overwrite(data, store, tmp_path, monkeypatch, url):
    other = repacked(tmp_path / "other")
    listed = transfer.compare

    def compare(source, destination):
        split = listed(source, destination)
        succeeds_once(other, url)
        return split

    def succeeds_once(other, url):
        monkeypatch.setattr(transfer, "compare", listed)
        succeeds(transfer.main, "-i", other, "-o", url)

    monkeypatch.setattr(transfer, "compare", compare)
    line = refused_push("-i", data, "-o", url, "--split", "train")
    assert "s0-00.tar: is another shard than the source's of the same name: pass --overwrite" in line
    succeeds(transfer.main, "-i", url, "-o", tmp_path / "back")
    assert content(other).items() <= content(tmp_path / "back").items()


def test_records_that_a_person_excludes_during_a_copy_stay_excluded(data, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    succeeds(transfer.main, "-i", data, "-o", copy)
    theirs = shutil.copytree(data, tmp_path / "theirs")
    change_list(theirs / "train" / LIST, "test_0_0", True)
    done = transfer.copy

    def exclude_meanwhile(*words):
        done(*words)
        change_list(copy / "train" / LIST, "test_1_0", True)

    monkeypatch.setattr(transfer, "copy", exclude_meanwhile)
    assert "1 more record is excluded" in succeeds(transfer.main, "-i", theirs, "-o", copy)
    assert read_keys(copy / "train" / LIST) == {"test_0_0", "test_1_0"}
