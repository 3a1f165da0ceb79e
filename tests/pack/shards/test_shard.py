import io
import json
import os
import signal
import tarfile
import zlib
from dataclasses import replace

import numpy as np
import pytest
import webdataset

from pack.parts import remove_leftovers
from pack.shards.index import Entry, index_path, read_index
from pack.shards.location import RemotePath
from pack.shards.record import decode, encode
from pack.shards.shard import (
    ShardWriter,
    find_record,
    list_shards,
    parse_record,
    published_sha256,
    read_record,
    read_shards,
)
from pack.shards.store import StoreError, client
from pack.shards.untrusted import CorruptRecord
from tests.pack.shards.test_record import example
from tools.cli import MissingFile, UserError
from tools.cli.files import file_sha256, locked_folder


def write(path, count=3, config=None):
    with ShardWriter(path) as writer:
        for number in range(count):
            record = example(seed=number)
            writer.add(f"{record.key}{number}", encode(record))
        return writer.publish({"video": "a.mp4"}, config or {"seed": 71})


def test_an_index_read_back_is_the_one_that_was_written(tmp_path):
    index = write(tmp_path / "a.tar")
    assert read_index(tmp_path / "a.json") == index
    assert index.sha256 == file_sha256(index.tar)
    assert index.bytes == index.tar.stat().st_size
    assert list_shards(tmp_path) == [index]


def test_an_index_that_a_store_does_not_give_may_be_there(tmp_path, monkeypatch):
    index = write(tmp_path / "a.tar")
    assert published_sha256(tmp_path / "a.tar") == index.sha256 and published_sha256(tmp_path / "b.tar") == ""
    (tmp_path / "a.json").write_text("{")
    assert published_sha256(tmp_path / "a.tar") == ""

    def refuse(*_):
        raise StoreError("the store did not answer")

    monkeypatch.setattr("pack.shards.index.read_bytes", refuse)
    with pytest.raises(StoreError):
        published_sha256(RemotePath("memory://shelf/a.tar"))


def test_a_stock_webdataset_reads_a_shard(tmp_path):
    index = write(tmp_path / "a.tar")
    samples = list(webdataset.WebDataset(str(index.tar), shardshuffle=False).decode("rgb"))
    assert [sample["__key__"] for sample in samples] == [entry.key for entry in index.records]
    for number, sample in enumerate(samples):
        record = example(seed=number)
        assert sample["json"] == record.info
        assert np.allclose(sample["01_c.webp"] * 255, record.frames[1])
        assert np.allclose(sample["01_m.png"][..., 0] * 255, record.masks[1])


def test_one_seek_finds_a_record_and_its_bytes_are_a_tar_stream(tmp_path):
    index = write(tmp_path / "a.tar")
    entry = index.records[1]
    assert np.array_equal(decode(entry.key, read_record(index, entry)).frames, example(seed=1).frames)
    piece = index.tar.read_bytes()[entry.offset : entry.offset + entry.length]
    with tarfile.open(fileobj=io.BytesIO(piece)) as tar:
        members = {info.name.removeprefix(entry.key + "."): tar.extractfile(info).read() for info in tar}
    assert members == read_record(index, entry) and list(members) == list(encode(example()))


@pytest.mark.parametrize("layout", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, None])
def test_an_index_that_packing_did_not_write_is_reported(layout):
    data = b"no tar" * 200
    if layout is not None:
        with tarfile.open(fileobj=(file := io.BytesIO()), mode="w", format=layout) as tar:
            tar.addfile(tarfile.TarInfo("k.jsön" if layout == tarfile.PAX_FORMAT else "k.json"))
        data = file.getvalue()
    with pytest.raises(CorruptRecord, match="record k: its range of the tar is not as packing writes it"):
        parse_record(data, Entry("k", 0, len(data), zlib.crc32(data)))


def test_the_same_records_give_the_same_bytes(tmp_path):
    assert write(tmp_path / "a.tar").sha256 == write(tmp_path / "other" / "a.tar").sha256


def test_every_single_flipped_bit_of_a_record_is_caught(tmp_path):
    index = write(tmp_path / "a.tar", 1)
    entry = index.records[0]
    data = index.tar.read_bytes()[entry.offset : entry.offset + entry.length]
    for position in range(0, len(data), 997):
        flipped = bytearray(data)
        flipped[position] ^= 4
        with pytest.raises(CorruptRecord):
            parse_record(bytes(flipped), entry)
    with pytest.raises(CorruptRecord, match=f"read {len(data) - 512} bytes, its index says {len(data)}"):
        parse_record(data[:-512], entry)


def test_an_index_whose_range_cuts_a_member_is_reported(tmp_path):
    index = write(tmp_path / "a.tar", 1)
    entry = index.records[0]
    data = index.tar.read_bytes()[entry.offset : entry.offset + entry.length - 512]
    with pytest.raises(CorruptRecord, match="ends within a member"):
        parse_record(data, Entry(entry.key, 0, len(data), zlib.crc32(data)))


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError), ShardWriter(tmp_path / "a.tar") as writer:
        writer.add("k", encode(example()))
        raise RuntimeError("stopped")
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_tar_does_not_count(tmp_path):
    index = write(tmp_path / "a.tar")
    write(tmp_path / "b.tar")
    (tmp_path / "b.json").unlink()
    assert list_shards(tmp_path) == [index]


def test_a_cut_tar_a_missing_tar_and_an_empty_folder_are_named(tmp_path):
    index = write(tmp_path / "a.tar")
    index.tar.write_bytes(index.tar.read_bytes()[:-1])
    with pytest.raises(ValueError, match="its index says"):
        list_shards(tmp_path)
    index.tar.unlink()
    with pytest.raises(ValueError, match="is missing"):
        list_shards(tmp_path)
    index_path(index.tar).unlink()
    with pytest.raises(FileNotFoundError, match="holds no shard"):
        list_shards(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        list_shards(tmp_path / "none")
    (tmp_path / "data" / "train").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"name a split, .*/data/train$"):
        list_shards(tmp_path / "data")
    (tmp_path / "film.mp4").touch()
    with pytest.raises(FileNotFoundError, match="is a file, expected a folder of shards"):
        list_shards(tmp_path / "film.mp4")


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', "\x00"])
def test_an_index_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match="is not the index of a shard"):
        read_index(tmp_path / "a.json")


def test_an_index_of_another_version_is_refused(tmp_path):
    index = write(tmp_path / "a.tar")
    path = index_path(index.tar)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    with pytest.raises(ValueError, match="found index version 99, expected 1"):
        read_index(path)


def test_the_leftovers_of_a_killed_packer_go_and_the_file_of_a_living_one_stays(tmp_path):
    pid = os.fork()
    if not pid:
        ShardWriter(tmp_path / "v-00000.tar")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    with ShardWriter(tmp_path / "v-00000.tar") as writer:
        assert len(list(tmp_path.glob("*.tmp"))) == 2
        remove_leftovers(tmp_path, "v")
        assert list(tmp_path.iterdir()) == [writer.temporary]
        writer.add("k", encode(example()))
        assert writer.publish({}, {}) == read_index(tmp_path / "v-00000.json")


def test_the_old_index_is_gone_before_a_new_tar_has_its_name(tmp_path, monkeypatch):
    write(tmp_path / "a.tar", 1)
    old = (tmp_path / "a.tar").read_bytes()
    replace, seen = os.replace, []

    def watched(source, target):
        seen.append((os.path.basename(target), (tmp_path / "a.json").exists()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    write(tmp_path / "a.tar", 2)
    assert (tmp_path / "a.tar").read_bytes() != old
    assert seen == [("a.tar", False), ("a.json", False)]


def test_a_tar_is_complete_on_the_disk_and_closed_before_it_has_its_name(tmp_path, monkeypatch):
    fsync, replace, events = os.fsync, os.replace, []
    writer = begun(tmp_path / "a.tar", 1)

    def synced(file):
        events.append(("fsync", os.fstat(file).st_size))
        fsync(file)

    def replaced(source, target):
        events.append((os.path.basename(target), writer.file.file.closed))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    with writer:
        index = writer.publish({}, {})
    assert events[:2] == [("fsync", index.bytes), ("a.tar", True)]
    assert index.bytes % tarfile.RECORDSIZE == 0 and index.tar.read_bytes().endswith(bytes(2 * tarfile.BLOCKSIZE))


def test_a_writer_that_publishes_nothing_closes_its_file(tmp_path):
    with begun(tmp_path / "a.tar", 1) as writer:
        pass
    assert writer.file.file.closed and list(tmp_path.iterdir()) == []


def test_a_store_lists_the_shards_of_the_folder_that_was_copied_to_it(tmp_path):
    split = RemotePath("memory://bucket/train")
    with pytest.raises(MissingFile, match=r"holds no shard.*`make push DEST=memory://bucket`"):
        list_shards(split)
    local = [write(tmp_path / f"{name}.tar", 1) for name in "ab"]
    for path in tmp_path.iterdir():
        client(split).pipe(f"{split}/{path.name}", path.read_bytes())
    client(split).pipe(f"{split}/.a.json", b"hidden")
    found = list_shards(split)
    assert found == [replace(shard, tar=split / shard.tar.name) for shard in local]
    assert read_record(found[0], found[0].records[0]) == read_record(local[0], local[0].records[0])
    client(split).rm(str(split), recursive=True)
    (tmp_path / "b.json").unlink()
    (tmp_path / "a.json").unlink()
    with pytest.raises(MissingFile, match=r"holds no shard.*make them with `make shards`"):
        list_shards(tmp_path)


def test_a_key_that_cannot_be_read_back_is_not_written(tmp_path):
    with pytest.raises(UserError, match="has a dot, a slash"), ShardWriter(tmp_path / "a.tar") as writer:
        writer.add("../k", {})


def begun(path, seed):
    writer = ShardWriter(path)
    record = example(seed=seed)
    writer.add(record.key, encode(record))
    return writer


def test_of_two_writers_of_one_name_the_second_never_replaces_other_records_of_the_first(tmp_path):
    write(tmp_path / "a.tar")  # what was there before is replaced
    with begun(tmp_path / "a.tar", 1) as first, begun(tmp_path / "a.tar", 2) as second:
        index = first.publish({}, {})
        with pytest.raises(UserError, match="another program has just published"):
            second.publish({}, {})
    assert list_shards(tmp_path) == [index] and index.sha256 == file_sha256(index.tar)
    with begun(tmp_path / "a.tar", 1) as same, begun(tmp_path / "a.tar", 1) as other:
        assert same.publish({}, {}) == other.publish({}, {}) == index  # the same records lose nothing


def test_a_shard_is_published_while_no_other_program_changes_its_folder(tmp_path, monkeypatch):
    free, replace = [], os.replace

    def replaced(*paths):
        with locked_folder(tmp_path, wait=False) as held:
            free.append(held)
        replace(*paths)

    monkeypatch.setattr(os, "replace", replaced)
    write(tmp_path / "a.tar")
    assert free == [False, False]  # the tar, then its index


def test_shards_named_one_by_one_come_by_name_and_each_needs_its_whole_tar(tmp_path):
    first, second = write(tmp_path / "a.tar"), write(tmp_path / "b.tar")
    assert read_shards([second.tar, first.tar]) == [first, second]
    with open(second.tar, "ab") as file:
        file.write(b"more")
    with pytest.raises(UserError, match=rf"b\.tar: found {second.bytes + 4} bytes, its index says {second.bytes}"):
        read_shards([first.tar, second.tar])
    second.tar.unlink()
    with pytest.raises(UserError, match=r"its tar b\.tar is missing"):
        read_shards([first.tar, second.tar])
    index_path(second.tar).unlink()
    with pytest.raises(UserError, match=r"its index b\.json is missing"):
        read_shards([first.tar, second.tar])


def test_a_record_is_found_by_its_key_in_any_shard(tmp_path):
    shards = [write(tmp_path / f"{name}.tar") for name in "ab"]
    shards[1] = replace(shards[1], records=tuple(replace(e, key=f"other{e.key}") for e in shards[1].records))
    for shard in shards:
        for entry in shard.records:
            assert find_record(shards, entry.key) == (shard, entry)
    with pytest.raises(UserError, match="no record none in these shards"):
        find_record(shards, "none")


def test_the_folders_of_a_shard_are_created(tmp_path):
    index = write(tmp_path / "data" / "train" / "a.tar")
    assert list_shards(tmp_path / "data" / "train") == [index]
