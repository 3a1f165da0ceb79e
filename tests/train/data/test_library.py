"""open_stream: its interface, and ten faults that users of other loaders report."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch

from pack.shards.shard import ShardWriter, list_shards
from tests.pack.shards.test_faults import flip
from tests.support import ROOT
from tests.support.processes import is_running
from tests.support.shards import make_data, make_split
from tests.support.training.trainings import one_thread  # noqa: F401
from tools.cli import MissingFile, UserError
from train.data import open_stream
from train.data.augment import to_device_batch
from train.data.library import SampleStream
from train.data.plan import Plan
from train.data.records import Records
from train.data.samples import Samples
from train.data.stream import Stream

BATCH = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Ten records in two shards, and three for evaluation."""
    return make_data(tmp_path_factory.mktemp("library") / "data", records=10, evaluation=3, size=72)


@pytest.fixture(scope="module")
def mixture(data, tmp_path_factory):
    """The same and five records of another source, which has a quarter of the samples."""
    other = tmp_path_factory.mktemp("mixture")
    make_split(other / "train", records=5, shards=1, first=500, size=72)
    return f"{data}*3,{other}"


def opened(data, **settings):
    return open_stream(data, **{"tile": 64, "batch_size": BATCH, "seed": 3} | settings)


def content(batch):
    """All that a batch shows, by sample: epoch, place in it, record, sum of its pixels and holes."""
    sums = [batch[name].double().sum((1, 2, 3, 4)).tolist() for name in ("frames", "holes")]
    return list(zip([batch["epoch"]] * len(batch["key"]), batch["index"].tolist(), batch["key"], *sums, strict=True))


def shown(stream, epochs=1):
    """The content of so many loops over the stream."""
    return [sample for _ in range(epochs) for batch in stream for sample in content(batch)]


def job(data, world_size, state=None, loops=1, **settings):
    """What the processes of a job show together in so many loops, in the order of slots, and the state of each."""
    streams = [opened(data, rank=rank, world_size=world_size, **settings) for rank in range(world_size)]
    for stream in streams:
        if state:
            stream.load_state_dict(state)
    parts = [shown(stream, loops) for stream in streams]
    states = [stream.state_dict() for stream in streams]
    for stream in streams:
        stream.close()
    return sorted(sample for part in parts for sample in part), states, [len(part) for part in parts]


@pytest.fixture(scope="module")
def expected(data):
    """Three epochs of one process that is never stopped."""
    return shown(opened(data), epochs=3)


def stopped_after(data, batches, **settings):
    """What a stream shows until it is stopped, and its state, which was written to a file and read again."""
    stream = opened(data, **settings)
    found = []
    while len(found) < batches:
        for batch in stream:
            found.append(content(batch))
            if len(found) == batches:
                break
    state = json.loads(json.dumps(stream.state_dict()))
    stream.close()
    return [sample for batch in found for sample in batch], state


def test_a_batch_has_the_shapes_and_types_that_its_description_says(data):
    batch = next(iter(opened(data)))
    assert batch["frames"].shape == (BATCH, 12, 3, 64, 64) and batch["frames"].dtype == torch.float32
    assert batch["holes"].shape == (BATCH, 12, 1, 64, 64) and batch["holes"].dtype == torch.bool
    assert batch["frames"].min() >= 0 and 0.5 < batch["frames"].max() <= 1 and batch["holes"].any((1, 2, 3, 4)).all()
    assert batch["index"].tolist() == [0, 1, 2, 3] and batch["epoch"] == 1
    assert {*batch["key"]} <= {f"test_{number}_0" for number in range(10)}


def test_every_record_is_shown_once_before_any_is_shown_twice(expected):
    keys = [key for _, _, key, *_ in expected]
    assert len(keys) == 36  # three epochs of 10, rounded up to whole batches
    for start in (0, 10, 20):
        assert len({*keys[start : start + 10]}) == 10


def test_it_is_the_stream_that_a_training_sees(data, expected):
    records = Records(list_shards(data / "train"))
    samples = Samples(records, 12, 64, seed=3)
    numbers = Plan(records.sizes, 12, seed=3).records(2)
    made = [samples[2, index, int(numbers[index])] for index in range(12)]
    frames, holes = to_device_batch(made, "cpu")
    keys = [records[sample.slot.record][1].key for sample in made]
    batch = {"frames": frames, "holes": holes, "index": torch.arange(12), "key": keys, "epoch": 2}
    assert content(batch) == [sample for sample in expected if sample[0] == 2]


def test_evaluation_shows_every_record_once_and_each_loop_begins_with_the_first(data):
    stream = opened(data, split="eval", batch_size=2)
    next(iter(stream))
    first = shown(stream)
    assert first == shown(stream) and [key for _, _, key, *_ in first] == [f"test_{n}_0" for n in (1000, 1001, 1002)]
    assert len(stream) == 2
    both, _, shares = job(data, 2, split="eval", batch_size=2)
    assert both == first and shares == [2, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "test"}, r"split 'test': expected train or eval"),
        ({"augment": "none"}, r"augment 'none': expected iw3 or strong"),
        ({"batch_size": 0}, r"batch_size 0: expected 1 or more"),
        ({"workers": -1}, r"workers -1: expected 0 or more"),
        ({"tile": 60}, r"--tile 60: expected a multiple of 8"),
        ({"tile": 80}, r"tile 80 does not fit 72x72 records"),
        ({"cache_size": "much"}, r"--cache-size"),
    ],
)
def test_a_setting_out_of_range_is_refused_when_the_stream_is_opened(settings, message, data):
    with pytest.raises(UserError, match=message):
        opened(data, **settings)


@pytest.mark.parametrize(("rank", "world", "message"), [(0, 3, "expected a multiple of 3"), (2, 2, "expected 0 to 1")])
def test_processes_that_cannot_share_a_batch_are_refused(rank, world, message, data):
    with pytest.raises(UserError, match=message):
        next(iter(opened(data, rank=rank, world_size=world)))


def test_rank_and_world_size_are_those_of_torchrun(data, monkeypatch):
    stream = opened(data)  # before torchrun's environment is known, as in a script that Lightning starts again
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert [index for _, index, *_ in shown(stream)] == [1, 3, 5, 7, 9, 11]


def test_several_tiles_of_a_record_are_shown_by_one_process(data):
    found, _, _ = job(data, 2, tiles_per_record=2)
    assert found == shown(opened(data, tiles_per_record=2))
    assert all(a[2] == b[2] and a[3] != b[3] for a, b in zip(found[::2], found[1::2], strict=True))


def test_a_bad_record_is_replaced_with_a_warning_or_left_out_of_evaluation(tmp_path):
    data = make_data(tmp_path, records=4, evaluation=3, size=72)
    flip(data / "train", record=1, at=0.5)
    flip(data / "eval", record=1, at=0.5)
    with pytest.warns(UserWarning, match=r"bad record test_2_0 in .*s0-00.tar is not used: .*crc32") as warned:
        found = shown(opened(data), epochs=2)
    assert len(warned) == 1 and len(found) == 8 and "test_2_0" not in {key for _, _, key, *_ in found}
    with pytest.warns(UserWarning, match="bad record test_1001_0"):
        assert len(shown(opened(data, split="eval"))) == 2


def test_a_loop_over_a_stream_that_has_moved_on_is_refused(data):
    stream = opened(data)
    older, newer = iter(stream), iter(stream)
    assert content(next(older)) != content(next(newer))  # both begin at the position, which is one
    with pytest.raises(RuntimeError, match="another loop over it was begun"):
        next(older)
    stream.load_state_dict(stream.state_dict())
    with pytest.raises(RuntimeError, match="the position of the stream was changed"):
        next(newer)


def test_a_closed_stream_is_not_read(data):
    with opened(data, workers=1) as stream:
        next(iter(stream))
    with pytest.raises(RuntimeError, match="the stream is closed"):
        next(iter(stream))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "not the state of a stream of version 1"),
        ({"settings": None}, "not the state of a stream"),
        ({"samples_done": 3}, "the state is damaged"),
        ({"samples_done": 12}, "the state is damaged"),
        ({"epoch": True}, "the state is damaged"),
        ({"settings": {"seed": 4}}, "other settings"),
    ],
)
def test_a_state_that_is_not_one_is_refused_and_changes_nothing(change, message, data):
    stream = opened(data)
    next(iter(stream))
    before = stream.state_dict()
    with pytest.raises(UserError, match=message):
        stream.load_state_dict(before | change)
    assert stream.state_dict() == before


def test_a_state_of_other_data_or_settings_names_them(data, mixture):
    state = opened(data).state_dict()
    with pytest.raises(UserError, match=r"other settings \(seed: 3 -> 4; tile: 64 -> 72\): open the stream"):
        opened(data, seed=4, tile=72).load_state_dict(state)
    with pytest.raises(UserError, match=r"data: \w{16} -> \w{16}; samples_per_epoch: 12 -> 16\)"):
        opened(mixture).load_state_dict(state)


# Ten faults that users of other loaders report. Each test states the rule that excludes one.

INTERRUPTED = """
import sys, time
from train.data import open_stream
for batch in open_stream(sys.argv[1], tile=64, workers=2, batch_size=2, samples_per_epoch=10**6):
    print(*(worker.pid for worker in __import__("multiprocessing").active_children()), flush=True)
"""


def shared_memory(pids):
    """Files in shared memory whose names have one of these process ids."""
    return [name for name in os.listdir("/dev/shm") if {*name.replace("_", "-").split("-")} & {*map(str, pids)}]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_fault_1_after_ctrl_c_or_a_kill_no_shared_memory_and_no_worker_is_left(number, data):
    command = [sys.executable, "-c", INTERRUPTED, str(data)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    pids = [process.pid, *map(int, process.stdout.readline().split())]
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    errors = process.communicate()[1]
    assert len(pids) == 3 and process.returncode == -number
    assert number != signal.SIGINT or errors.splitlines()[-1] == "KeyboardInterrupt"
    while any(map(is_running, pids)):  # a worker looks every 5 s whether its parent is alive
        time.sleep(0.1)
    assert shared_memory(pids) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_fault_2_a_second_resume_goes_on_where_the_first_one_stopped(workers, data, expected):
    found, state = [], None
    for batches in (1, 0, 2, 3, 1):  # two of them before anything was shown since
        with opened(data, workers=workers) as stream:
            if state:
                stream.load_state_dict(state)
                assert stream.state_dict() == state
            while batches:
                for batch in stream:
                    found += content(batch)
                    batches -= 1
                    if not batches:
                        break
            state = stream.state_dict()
    assert found == expected[: 7 * BATCH]


@pytest.mark.parametrize("batches", [1, 2, 3, 4])
@pytest.mark.parametrize("workers", [0, 2])
def test_fault_3_no_sample_is_lost_or_shown_twice_by_a_resume(workers, batches, data, expected):
    before, state = stopped_after(data, batches, workers=workers)
    with opened(data, workers=2 - workers) as stream:
        stream.load_state_dict(state)
        assert before + shown(stream, 3 - batches // 3) == expected


def test_fault_4_an_epoch_has_its_length_also_after_a_resume(data):
    _, state = stopped_after(data, 2)
    stream = opened(data)
    stream.load_state_dict(state)
    assert len(stream) == 3
    assert [sum(1 for _ in stream) for _ in range(3)] == [1, 3, 3]  # the rest of the first, then whole ones
    assert len(stream) == 3 and stream.epoch == 4


@pytest.mark.parametrize("batches", [1, 3, 5])
def test_fault_5_a_mixture_is_resumed_like_one_source(batches, mixture):
    whole = shown(opened(mixture), epochs=3)
    before, state = stopped_after(mixture, batches)
    stream = opened(mixture)
    stream.load_state_dict(state)
    assert before + shown(stream, 3 - batches // 4) == whole
    of_other = [key for _, _, key, *_ in whole if int(key.split("_")[1]) >= 500]
    assert len(whole) == 48 and len(of_other) == 12
    assert sorted({*of_other[:5]}) == [f"test_{number}_0" for number in range(500, 505)]


def test_fault_6_more_workers_than_shards_or_records_all_work(tmp_path, expected, data):
    with opened(data, workers=5) as stream:  # of two shards
        assert shown(stream, 3) == expected
    one = make_split(tmp_path / "train", records=1, shards=1, size=72).parent
    with opened(one, workers=3, batch_size=2) as stream:
        assert [key for _, _, key, *_ in shown(stream, 2)] == ["test_0_0"] * 4


def test_fault_7_an_empty_source_is_an_error_when_the_stream_is_opened(data, tmp_path):
    with pytest.raises(MissingFile, match=r"expected .*train"):
        opened(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(MissingFile, match="holds no shard"):
        opened(tmp_path)
    with ShardWriter(tmp_path / "train" / "empty.tar") as writer:
        writer.publish({}, {})
    for source in (tmp_path, f"{data},{tmp_path}"):
        with pytest.raises(UserError, match="hold no records"):
            opened(source)


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 2), (2, 1)])
def test_fault_8_a_job_on_several_nodes_goes_on_with_any_number_of_processes(before, after, data, expected):
    """All processes have the same state, so that of any one of them, as of rank 0, resumes all."""
    streams = [opened(data, rank=rank, world_size=before) for rank in range(before)]
    loops = [iter(stream) for stream in streams]
    found = sorted(sample for loop in loops for sample in content(next(loop)))
    states = [stream.state_dict() for stream in streams]
    assert all(state == states[0] for state in states)
    rest, _, shares = job(data, after, states[-1], loops=3)
    assert found + rest == expected and len({*shares}) == 1


def test_fault_9_memory_does_not_grow_with_the_set_or_with_the_epochs(data):
    small = opened(data)
    shown(small)
    gc.collect()
    objects = len(gc.get_objects())
    shown(small, 3)
    gc.collect()
    assert len(gc.get_objects()) < objects + 100
    shard = list_shards(data / "train")[0]
    records = Records([replace(shard, records=shard.records[:1] * 100)] * 1000)
    plan = Plan(records.sizes, len(records), seed=3)
    large = SampleStream(Stream(Samples(records, 12, 64, seed=3), 0), plan, BATCH, torch.device("cpu"), 0, 1)
    tracemalloc.start()
    for _ in zip(large, range(3), strict=False):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * len(records)  # bytes
    assert len(json.dumps(large.state_dict())) < 300


@pytest.mark.parametrize("world", [1, 2])
def test_fault_10_epochs_follow_each_other_and_every_process_has_as_many_batches(world, data, expected):
    streams = [opened(data, workers=2, rank=rank, world_size=world) for rank in range(world)]
    found = []
    for _ in range(3):
        for batches in zip(*streams, strict=True):  # in turns, as a job that waits for each other
            found += sorted(sample for batch in batches for sample in content(batch))
    for stream in streams:
        stream.close()
    assert found == expected


def test_a_remote_source_is_read_like_a_folder(data, expected):
    import fsspec

    remote = fsspec.filesystem("memory")
    remote.put(str(data), "/library", recursive=True)
    with closing(opened("memory://library")) as stream:
        assert shown(stream) == expected[:12]
    assert np.isfinite([row[3] for row in expected]).all()
