"""Reading and training from a real S3 server through faults."""

import os

import numpy as np
import pytest

from pack.shards import store as stores
from pack.shards.location import RemotePath, parse_location
from pack.shards.shard import list_shards, read_record
from pack.shards.store import StoreError
from tests.support.servers import s3
from tests.support.shards import make_data, make_split
from tests.support.training import trainings
from train.config import Config
from train.data.plan import Plan
from train.data.records import Records
from train.data.samples import Samples
from train.data.sources import load_split, parse_sources
from train.data.stream import Stream

URL = f"s3://{s3.BUCKET}"
FLAGS = (
    "--loss temporal_l1 --tile 64 --num-samples 48 --backward-step 2 --max-epoch 2 --learning-rate-cycles 1 "
    "--eval-step 2 --seed 1 --hard-example none"
).split()


@pytest.fixture
def data(s3_server):
    """A dataset that is in the bucket already; its folder is the same from inside."""
    return make_data(s3_server[0], records=4, frames=12, size=64)


def train(source, folder, *flags):
    """What a whole training of a tiny network prints."""
    folder.mkdir()
    log, env = folder / "log", {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    words = [str(word) for word in ("-i", source, "--model-dir", folder / "model", *FLAGS, *flags)]
    pid = trainings.ask(argv=words, env=env | {"RANK": "0", "WORLD_SIZE": "1"}, log=str(log), hooks=())
    assert trainings.ask(wait=pid, seconds=480) == 0, log.read_text()
    return log.read_text()


def stream_digests(log):
    return [line.partition("stream ")[2].partition(",")[0] for line in log.splitlines() if "stream " in line]


@pytest.mark.slow
def test_training_through_faults_sees_what_training_from_the_folder_sees(data, store, tmp_path):
    local = train(data, tmp_path / "local", "--num-workers", "0")
    store.harm = s3.some_of_the_reads(0.3)
    remote = train(URL, tmp_path / "remote", "--num-workers", "1")
    assert store.harmed >= 1 and stream_digests(remote) == stream_digests(local) and len(stream_digests(local)) == 1
    assert not (tmp_path / "remote" / "model" / "quarantine.jsonl").exists()
    secret = s3.SECRET.encode()
    assert not any(secret in path.read_bytes() for path in (tmp_path / "remote").rglob("*") if path.is_file())


@pytest.mark.slow
def test_a_second_epoch_with_a_cache_reads_nothing_from_the_store(data, store, tmp_path):
    flags = ("--num-workers", "1", "--cache-dir", tmp_path / "cache", "--cache-size", "100MB", "--max-epoch", "2")
    first = train(URL, tmp_path / "one", *flags)
    shards = {request.path for request in store.tar_reads()}
    assert len(shards) == 3 and len(store.tar_reads()) == 3 + 2  # and a look at the first record of each split
    store.requests.clear()
    again = train(URL, tmp_path / "two", *flags, "--num-workers", "0")
    assert len(store.tar_reads()) == 2
    assert stream_digests(again) == stream_digests(first)


def test_every_kind_of_fault_is_asked_again_and_a_record_is_one_request(data, store):
    shards, local = list_shards(RemotePath(f"{URL}/train")), list_shards(data / "train")
    kinds = ["cut", "short", 500, 503, None]
    for (shard, ours), entry in ((pair, e) for pair in zip(shards, local, strict=True) for e in pair[0].records):
        turns = iter(kinds)
        store.harm = lambda _, turns=turns: next(turns)
        store.requests.clear()
        assert read_record(shard, entry) == read_record(ours, entry)
        expected = f"bytes={entry.offset}-{entry.offset + entry.length - 1}"
        assert [request.range for request in store.tar_reads()] == [expected] * 5


def test_a_store_that_stays_away_ends_the_stream_and_replaces_no_record(data, store, monkeypatch):
    samples = Samples(Records(list_shards(RemotePath(f"{URL}/train"))), 12, 64, seed=1)
    monkeypatch.setattr(stores, "ATTEMPTS", 2)
    store.harm = lambda _: 500
    with pytest.raises(StoreError, match=r"did not answer in 2 attempts.*--resume"):
        list(Stream(samples, 0).samples([(1, 0, 0)]))
    store.harm = lambda _: 403
    with pytest.raises(StoreError, match="the store refuses"):
        list(Stream(samples, 0).samples([(1, 0, 0)]))


def test_pauses_grow_and_are_not_the_same_twice():
    pauses = [[stores.pause(attempt) for attempt in range(9)] for _ in range(4)]
    assert all(0.05 * 2**n <= pause <= 0.1 * 2**n for row in pauses for n, pause in enumerate(row[:7]))
    assert max(map(max, pauses)) <= stores.LONGEST_PAUSE and len({row[0] for row in pauses}) == 4


def test_what_keeps_a_split_from_being_read_is_one_line(data, store, monkeypatch):
    for place, line in {
        "s3://nowhere/train": "no such object or bucket",
        f"{URL}/empty": "holds no shard, expected NAME.tar",
        "ftp2://x/y": "ftp2:// cannot be read",
    }.items():
        with pytest.raises((OSError, ValueError), match=line):
            list_shards(parse_location(place))
    store.harm = lambda _: 403
    with pytest.raises(StoreError, match="the store refuses"):
        list_shards(RemotePath(f"{URL}/train"))
    store.harm = lambda _: None
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ANOTHERKEY0000001")
    stores._client.cache_clear()
    with pytest.raises(StoreError, match="the store refuses"):
        list_shards(RemotePath(f"{URL}/train"))


def test_an_index_without_its_tar_and_a_tar_of_another_size_are_named(data, store):
    (data / "train" / "s0-00.tar").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"s0-00.tar: found 3 bytes, its index says"):
        list_shards(RemotePath(f"{URL}/train"))


def test_a_url_with_a_secret_is_refused_without_repeating_it():
    for url in ("s3://key:hunter2@bucket/x", "s3://bucket/x?X-Amz-Signature=hunter2", "s3://key@bucket/x"):
        with pytest.raises(ValueError, match="a user, a password or a query") as refusal:
            load_split(Config(data_dir=f"{url},data"), "train")
        assert "hunter2" not in str(refusal.value)


def test_sources_are_drawn_in_proportion_to_their_weights():
    plan = Plan([3, 2, 10, 30], 1000, 1, sources=((2, 0.7), (2, 0.3)))
    for epoch in (1, 2):
        row = plan.records(epoch)
        assert (row < 5).sum() == 700
        assert set(np.bincount(row, minlength=45)[:5]) == {140}  # each source goes through whole permutations
        assert set(np.bincount(row, minlength=45)[5:]) <= {7, 8}
    losses = np.tile([0.25, 1.0], 23)[:45].astype(np.float32)
    row = np.concatenate([plan.records(epoch, losses) for epoch in range(1, 21)])
    share = np.bincount(row, minlength=45) / len(row)
    expected = np.concatenate([0.7 * losses[:5] / losses[:5].sum(), 0.3 * losses[5:] / losses[5:].sum()])
    assert np.abs(share - expected).max() < 0.02 and abs(share[:5].sum() - 0.7) < 0.01


def test_a_mixture_of_a_store_and_a_folder_has_its_own_fingerprint(data, store, tmp_path):
    other = make_split(tmp_path / "other" / "train", records=2, shards=1, first=100, frames=12, size=64).parent
    names = [f"{URL}*0.7,{other}*0.3", f"{URL}*0.6,{other}*0.4", f"{URL}"]
    splits = [load_split(Config(data_dir=name, tile=64), "train") for name in names]
    assert len(splits[0]) == len(splits[2]) + 2 and splits[0].remote
    assert len({split.fingerprint() for split in splits}) == 3
    with pytest.raises(ValueError, match=r"record test_0_0 is in .* and in .*: expected sources without common"):
        load_split(Config(data_dir=f"{URL},{data}", tile=64), "train")
    for text in ("a*0", "a*x", "a*-1", "*2", "a,a"):
        with pytest.raises(ValueError, match="-i "):
            parse_sources(text)
