"""The cache of whole shards, shared by threads and processes, against a real S3 server."""

import errno
import fcntl
import itertools
import multiprocessing
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from pack.shards import cache as caches
from pack.shards.cache import Cache
from pack.shards.location import RemotePath
from pack.shards.shard import list_shards, read_record
from pack.shards.untrusted import CorruptRecord
from tests.support.servers import s3
from tests.support.shards import make_split
from tools.cli.sizes import parse_size
from train.data.plan import Slot
from train.data.records import Records
from train.data.samples import Sample, Samples, Unavailable

SPLIT = RemotePath(f"s3://{s3.BUCKET}/train")


@pytest.fixture
def shards(s3_server, store):
    """Four shards of two records each in the store."""
    make_split(s3_server[0] / "train", records=8, shards=4, frames=1, size=64)
    return list_shards(SPLIT)


@pytest.fixture
def two(tmp_path, shards):
    """A cache with room for two of them."""
    return open_cache(tmp_path / "cache", shards, 2)


def open_cache(folder, shards, count):
    cache = Cache(folder, count * max(shard.bytes for shard in shards))
    cache.check(shards)
    return cache


def kept(cache, shards):
    return [number for number, shard in enumerate(shards) if (cache.folder / f"{shard.sha256}.tar").exists()]


def read_all(cache, shards, results=None):
    records = [cache.read_record(shard, entry) for _ in range(3) for shard in shards for entry in shard.records]
    if results is not None:
        results.put(len(records))


def test_what_is_read_through_it_is_what_the_store_has_and_is_asked_for_once(two, shards, store):
    store.requests.clear()
    for shard in shards[:2]:
        for entry in shard.records:
            members = two.read_record(shard, entry)
            assert members == read_record(replace(shard, tar=two.folder / f"{shard.sha256}.tar"), entry)
    assert len(store.tar_reads()) == 2


def test_the_least_recently_used_goes_first_and_the_limit_holds(two, shards):
    for number, expected in ((0, [0]), (1, [0, 1]), (0, [0, 1]), (2, [0, 2]), (3, [2, 3]), (2, [2, 3])):
        two.read_record(shards[number], shards[number].records[0])
        assert kept(two, shards) == expected
        assert sum(path.stat().st_size for path in two.folder.iterdir()) <= two.size


def test_what_is_being_read_is_never_evicted(two, shards, store):
    for shard in shards[:2]:
        two.read_record(shard, shard.records[0])
    readers = [open(two.folder / f"{shard.sha256}.tar", "rb") for shard in shards[:2]]
    for reader in readers:
        fcntl.flock(reader, fcntl.LOCK_SH)
    store.requests.clear()
    members = two.read_record(shards[2], shards[2].records[0])  # from the store, as there is no room
    assert members == read_record(shards[2], shards[2].records[0]) and kept(two, shards) == [0, 1]
    readers[0].close()
    two.read_record(shards[2], shards[2].records[0])
    assert kept(two, shards) == [1, 2]


def test_threads_that_want_the_same_shard_download_it_once(two, shards, store):
    store.requests.clear()
    threads = [threading.Thread(target=read_all, args=(two, shards[:1])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.tar_reads()) == 1


@pytest.mark.slow
def test_processes_with_too_small_a_cache_read_what_is_right_and_keep_its_limit(two, shards):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=read_all, args=(two, shards, results)) for _ in range(2)]
    for process in processes:
        process.start()
    assert [results.get(timeout=480) for _ in processes] == [24, 24]
    for process in processes:
        process.join()
    assert len(kept(two, shards)) == 2 and not list(two.folder.glob("*.tmp"))


def test_a_copy_that_is_damaged_on_the_way_is_never_kept(two, shards):
    wrong = replace(shards[0], sha256="0" * 64)
    with pytest.raises(CorruptRecord, match="found sha256"):
        two.read_record(wrong, wrong.records[0])
    assert not list(two.folder.glob("*.t*"))


def test_a_copy_that_the_disk_damaged_is_fetched_again(two, shards):
    shard, entry = shards[0], shards[0].records[1]
    expected = two.read_record(shard, entry)
    path = two.folder / f"{shard.sha256}.tar"
    path.write_bytes(b"\0" * shard.bytes)
    assert two.read_record(shard, entry) == expected and not path.exists()
    assert two.read_record(shard, entry) == expected and path.exists()


def test_what_a_killed_download_left_is_removed(two, shards):
    left = [two.folder / f"{shard.sha256}.tmp" for shard in shards[:2]]
    for path in left:
        path.write_bytes(b"half")
        os.truncate(path, shards[0].bytes)
    two.read_record(shards[0], shards[0].records[0])
    assert not any(path.exists() for path in left) and kept(two, shards) == [0]


def test_a_folder_of_other_files_loses_none_of_them(two, shards):
    others = [two.folder / name for name in ("film-00000.tar", "film-00000.tmp", "a.1.0123abcd.tmp")]
    for other in others:
        other.write_bytes(bytes(shards[0].bytes))
        os.utime(other, (0, 0))
    read_all(two, shards)
    assert all(other.exists() for other in others) and len(kept(two, shards)) == 2


def test_an_error_of_the_caches_disk_says_nothing_of_a_record(two, shards, monkeypatch):
    samples = Samples(Records(shards[:1]), 1, 32, read=two.read_record)
    path, failed = two.folder / f"{shards[0].sha256}.tar", set()
    calls = (
        (caches, "open"), (caches, "locked"), (caches, "sync"), (caches, "file_sha256"),
        (os, "replace"), (os, "utime"), (Path, "unlink"),
    )  # fmt: skip
    for (owner, name), state, number in itertools.product(
        calls, ("absent", "cached", "damaged"), (errno.EROFS, errno.ENOSPC)
    ):
        path.unlink(missing_ok=True)
        if state == "cached":
            two.read_record(shards[0], shards[0].records[0])
        if state == "damaged":
            path.write_bytes(b"damaged")
        with monkeypatch.context() as patch:
            fails = let_fail(patch, owner, name, number)
            found = samples[Slot(0, 0, 0)]
        assert isinstance(found, Unavailable if fails else Sample), (name, state, found)
        if fails:
            failed.add((name, state))
            assert f"{two.folder}: the cache cannot be used ({os.strerror(number)}): " in found.reason
    assert failed > {("open", "cached"), ("utime", "cached"), ("locked", "damaged"), ("unlink", "damaged")}
    assert failed > {(name, "absent") for _, name in calls if name != "utime"}


def let_fail(patch, owner, name, number):
    """Let each call of a function raise an error of the system, and append it to the list that is returned."""
    calls = []

    def failing(*arguments, **_):
        calls.append(arguments)
        raise OSError(number, os.strerror(number))

    patch.setattr(owner, name, failing, raising=False)
    return calls


def test_a_cache_smaller_than_two_shards_is_refused(tmp_path, shards):
    with pytest.raises(ValueError, match="expected room for two: pass"):
        Cache(tmp_path, 2 * max(shard.bytes for shard in shards) - 1).check(shards)


def test_sizes_have_units():
    assert [parse_size("--cache-size", text) for text in ("200GB", "1.5 tb", "10M", "7")] == [2e11, 1.5e12, 1e7, 7]
    for text in ("", "GB", "-1GB", "1PB"):
        with pytest.raises(ValueError, match="is not a size"):
            parse_size("--cache-size", text)
