import signal

import numpy as np
import pytest

from pack.shards.shard import list_shards, read_record
from tests.pack.shards.test_faults import flip
from tests.support.shards import make_data, make_split
from tests.support.training import trainings
from tests.train.data.test_stream import content
from train.data.plan import Plan, Slot, slots_of
from train.data.records import Records
from train.data.samples import Samples
from train.data.stream import Stream

pytestmark = pytest.mark.slow

SEED, TILES = 11, 3


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Seven small records in three shards, of which record 2 is damaged."""
    folder = make_split(tmp_path_factory.mktemp("tiles") / "train", records=7, shards=3, size=72)
    flip(folder, record=2, at=0.7)
    return folder


def slots(count):
    records = Plan([3, 2, 2], count, SEED, tiles=TILES).records(2)
    return [Slot(2, index, int(records[index])) for index in range(count)]


def samples(split, read=None, keep=True):
    return Samples(Records(list_shards(split)), 12, 64, SEED, read, keep=keep)


@pytest.mark.parametrize("weights", [None, "random"])
@pytest.mark.parametrize("sources", [(), ((2, 1.0), (1, 3.0))])
def test_the_visits_of_an_epoch_are_those_of_a_shorter_one_with_each_record_repeated(weights, sources):
    weights = None if weights is None else np.random.default_rng(0).uniform(0.25, 1, 9).astype(np.float32)
    plan, visits = Plan([4, 3, 2], 24, SEED, 0, sources, tiles=3), Plan([4, 3, 2], 8, SEED, 0, sources)
    for epoch in (1, 5):
        assert plan.records(epoch, weights).tolist() == visits.records(epoch, weights).repeat(3).tolist()


@pytest.mark.parametrize("world", [1, 2, 4])
def test_all_slots_of_a_visit_are_one_process_s_and_every_slot_is_done_once(world):
    parts = [slots_of(rank, world, 24, 72, 12, TILES) for rank in range(world)]
    assert sorted(slot for part in parts for slot in part) == list(range(24, 72))
    for part in parts:
        visits = np.array(part).reshape(-1, TILES)
        assert (visits // TILES == visits[:, :1] // TILES).all() and len(part) == 48 // world


@pytest.mark.parametrize("workers", [0, 2])
def test_a_record_that_stays_decoded_gives_the_same_samples(workers, split):
    plain = Stream(samples(split, keep=False), 0)
    expected = [content(sample) for sample in plain.samples(slots(24))]
    found = [content(sample) for sample in Stream(samples(split), workers, tiles=TILES).samples(slots(24))]
    assert found == expected
    assert any(bad_records for *_, bad_records, _ in found) and len({pixels for *_, pixels in found}) == 24


def test_a_visited_record_is_read_once(split):
    read = []

    def counted(index, entry):
        read.append(entry.key)
        return read_record(index, entry)

    row = [slot for slot in slots(24) if slot.record != 2]  # the damaged one is read again, and replaced
    list(Stream(samples(split, counted), 0, tiles=TILES).samples(row))
    assert len(read) == len(row) // TILES


def test_a_run_of_several_tiles_resumes_to_the_last_bit_and_goes_on_with_other_processes(tmp_path):
    data = make_data(tmp_path / "data", records=6, evaluation=2, size=80)
    one, same, two = tmp_path / "one", tmp_path / "same", tmp_path / "two"
    more = ("--tiles-per-record", 2, "--backward-step", 4, "--num-samples", 96)
    trainings.train(one, *trainings.command(data, one, *more))
    for folder, world in ((same, 1), (two, 2)):
        flags = trainings.command(data, folder, *more, "--num-workers", 1, "--resume")
        job = trainings.start(folder, *flags, world=world, hooks=[["signal at", "train.loop.step", 4, signal.SIGKILL]])
        assert job.wait() == [-signal.SIGKILL] * world
        trainings.train(folder, *flags)
    assert trainings.results(same) == trainings.results(one)
    (place, rows), (found, numbers) = (
        (saved, np.array(saved["rows"], float))
        for saved in (trainings.checkpoint(folder)["backfill"]["place"] for folder in (one, two))
    )
    assert found["digest"] == place["digest"]  # the first steps were those of two processes
    np.testing.assert_allclose(numbers, rows, rtol=1e-5)


def test_a_step_that_would_divide_a_visit_is_refused(tmp_path):
    data = make_data(tmp_path / "data", records=2, evaluation=1, size=72)
    job = trainings.start(tmp_path, *trainings.command(data, tmp_path, "--tiles-per-record", 2), world=2)
    assert job.wait() == [2, 2]
    assert "found 2 processes with 2 tiles per record: pass 4 or more" in job.log()
