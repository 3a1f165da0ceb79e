"""Other shards under the same name, and copies of one shard at once."""

import itertools
import os
import subprocess
import sys

import pytest

from pack.shards.location import RemotePath
from pack.shards.shard import list_shards
from pack.shards.store import client, list_folder, sha256_at
from tests.support import ROOT
from tests.support.copies import PART, URL, content, push, refused_push, repacked
from tests.support.programs import refused, succeeds
from tests.support.shards import make_data
from tools import transfer
from tools.cli.files import locked_folder
from tools.copying import publishing, upload


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


def test_pulls_of_one_shard_at_once_publish_what_was_pushed(large, store, tmp_path):
    push(large)
    words = [sys.executable, ROOT / "tools" / "transfer.py", "-i", URL, "-o", tmp_path, "--part-bytes", str(PART)]
    pulls = [subprocess.Popen(words, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [pull.wait(480) for pull in pulls] == [0, 0, 0]
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
    assert not list((tmp_path / "copy").rglob("*.tmp"))  # no later pull would go on with it


def test_a_tar_and_its_index_are_published_under_one_lock(data, tmp_path, monkeypatch):
    held = []

    def checked(function):
        def call(*arguments):
            with locked_folder(
                arguments[-1].parent if function is os.replace else arguments[0].parent, wait=False
            ) as free:
                held.append(not free)
            return function(*arguments)

        return call

    monkeypatch.setattr(transfer, "remove", checked(transfer.remove))
    monkeypatch.setattr(upload.os, "replace", checked(os.replace))
    monkeypatch.setattr(transfer, "write_small", checked(transfer.write_small))
    succeeds(transfer.main, "-i", data, "-o", tmp_path / "copy", "--overwrite")
    assert len(held) >= 9 and all(held)


@pytest.mark.parametrize(("url", "conditions"), [(URL, False), (URL, True), ("memory://two-pushes/data", False)])
def test_of_two_pushes_at_once_no_index_stands_by_the_tar_of_the_other(
    data, store, s3_server, tmp_path, monkeypatch, url, conditions
):
    """Whether the other one's tar, or its tar and index, arrive just before or just after our index."""
    monkeypatch.setattr(publishing, "pause", lambda _: 0)
    store.root = s3_server[0].parent if conditions else None
    other = make_data(tmp_path / "other", records=4, frames=1, size=72)
    for number, (moment, names) in enumerate(itertools.product(("before", "after"), (["tar"], ["tar", "json"]))):
        place = RemotePath(f"{url}{number}")

        def write_both(index, data, condition, moment=moment, names=names, write=publishing._write_index):
            if moment == "after":
                write(index, data, condition)
            for suffix in names if index.name == "s0-00.json" else []:
                written = (other / "train" / f"s0-00.{suffix}").read_bytes()
                publishing.write_small(index.with_suffix(f".{suffix}"), written)
            if moment == "before":
                write(index, data, condition)

        with monkeypatch.context() as patch:
            patch.setattr(publishing, "_write_index", write_both)
            line = refused_push("-i", data, "-o", place.url, "--split", "train")
        assert "s0-00.tar: another program has just written other records under this name: push again" in line
        found = list_folder(place / "train")
        for index in list_shards(place / "train") if any(name.endswith(".json") for name in found) else []:
            assert sha256_at(index.tar, index.bytes) == index.sha256
        assert ("s0-00.json" in found) == (names == ["tar", "json"] and (conditions or moment == "after"))


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
