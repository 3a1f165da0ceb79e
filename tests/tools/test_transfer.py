"""Copying splits to and from a real S3 server."""

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from pack.shards.location import RemotePath
from pack.shards.shard import list_shards
from pack.shards.store import client, list_folder
from tests.support.copies import (
    URL,
    change,
    content,
    push,
    refused_push,
)
from tests.support.programs import succeeds
from tests.support.servers import s3
from tests.support.shards import make_data, make_split
from tools import transfer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("transfer") / "data", records=4, frames=1, size=64)


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


def test_a_bucket_without_s3_is_said_to_be_a_local_folder(data, store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hint = "a bucket is written s3://BUCKET/PREFIX"
    out = succeeds(transfer.main, "-i", data, "-o", "bucket")
    assert f"bucket: is a local folder ({tmp_path / 'bucket'}); {hint}" in out
    assert hint in refused_push("-i", "other-bucket", "-o", "data")
    assert hint not in push(data)


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
    subprocess.run([s3.rclone(), "copy", "--config", os.devnull, data, remote], check=True)
    store.requests.clear()
    assert "got 0 shards with 0.0 MB, had 3 already" in push(data)
    assert [index.name for index in list_shards(RemotePath(f"{URL}/train"))] == ["s0-00", "s0-01"]


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
