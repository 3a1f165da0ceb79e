import contextlib
import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pack.shards.shard import list_shards
from tests.pack.shards.test_faults import flip
from tests.support import ROOT
from tests.support.processes import children
from tests.support.shards import make_data, make_split
from tests.support.training import trainings
from tests.support.training.trainings import one_thread  # noqa: F401
from tools.cli import UserError
from train.data import stream as module
from train.data.looks import draw_look
from train.data.plan import Plan, Slot, replacement, slots_of
from train.data.records import Records
from train.data.samples import BadRecord, Samples
from train.data.stream import Stream, eval_slots, explain_worker_death

SEED, TILE = 11, 64


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Seven small records in three shards, of which record 2 is damaged."""
    folder = make_split(tmp_path_factory.mktemp("stream") / "train", records=7, shards=3, size=72)
    flip(folder, record=2, at=0.7)
    return folder


def samples(split, seed=SEED, strong=False):
    return Samples(Records(list_shards(split)), 12, TILE, seed, strong=strong)


def slots(count, start=0):
    records = Plan([3, 2, 2], count, SEED).records(4)
    return [Slot(4, index, int(records[index])) for index in range(start, count)]


def content(sample):
    """All that the network sees of a sample, and what the run writes down of it."""
    pixels = hashlib.sha256(sample.frames.numpy().tobytes() + sample.holes.numpy().tobytes()).hexdigest()
    return sample.slot.index, sample.slot.record, sample.digest, sample.bad_records, pixels


@pytest.fixture(scope="module")
def expected(split):
    return [content(sample) for sample in Stream(samples(split), 0).samples(slots(16))]


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_any_number_of_workers_gives_the_same_samples_in_the_same_order(workers, split, expected):
    stream = Stream(samples(split), workers)
    assert [content(sample) for sample in stream.samples(slots(16))] == expected
    assert [content(sample) for sample in stream.samples(slots(16, start=11))] == expected[11:]


@pytest.mark.parametrize("workers", [1, 3])
def test_no_sample_is_overwritten_by_a_later_one_however_slowly_it_is_taken(workers, split, expected):
    kept = []
    for sample in Stream(samples(split), workers).samples(slots(16)):
        kept.append(sample)
        time.sleep(0.1)  # in which a worker does all that it may
    assert [content(sample) for sample in kept] == expected


@pytest.mark.parametrize(("workers", "tiles"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("most", [0, 1, 2, 5])
def test_a_sample_stays_as_it_is_while_anything_shows_it(most, workers, tiles, split, expected):
    stream = Stream(samples(split), workers, tiles=tiles)
    kept, found = deque(), []
    for sample in stream.samples(slots(16)):
        kept.append(replace(sample, frames=sample.frames.view(-1), holes=sample.holes[:]))
        del sample
        time.sleep(0.02)  # in which a worker does all that it may
        if len(kept) > most:
            found.append(content(kept.popleft()))
    found += map(content, kept)
    assert found == expected


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pass_that_is_given_up_does_not_disturb_the_next(workers, split, expected):
    stream = Stream(samples(split), workers)
    for given_up in (1, 4, 3):
        found = stream.samples(slots(16))
        assert [content(next(found)) for _ in range(given_up)] == expected[:given_up]
    assert [content(sample) for sample in stream.samples(slots(16))] == expected


@pytest.mark.parametrize(("workers", "tiles"), [(2, 1), (2, 2), (0, 2)])
def test_slots_beyond_the_memory_for_them_are_done_in_several_passes_by_the_same_workers(
    workers, tiles, split, expected, monkeypatch
):
    monkeypatch.setattr(module, "CAPACITY", 5)
    before, stream, seen = children(os.getpid()), Stream(samples(split), workers, tiles), set()
    found = []
    for sample in stream.samples(slots(16)):
        found.append(content(sample))
        seen |= set(children(os.getpid())) - set(before)
    assert found == expected and len(seen) == workers
    assert list(stream.samples([])) == []


@pytest.mark.parametrize("world", [2, 4])
def test_any_number_of_ranks_shows_the_same_samples(world, split, expected):
    parts = [
        Stream(samples(split), 0).samples([slots(16)[p] for p in slots_of(rank, world, 0, 16, 4)])
        for rank in range(world)
    ]
    assert sorted(content(sample) for part in parts for sample in part) == expected


def test_another_seed_epoch_or_slot_augments_otherwise(split):
    def digest(seed, epoch, position):
        return samples(split, seed)[epoch, position, 0].digest

    digests = [digest(*key) for key in [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2)]]
    assert len(set(digests)) == 4 and digest(1, 1, 1) == digests[0]


def test_strong_augmentation_is_the_slots_too_and_in_its_digest(split, expected):
    alone = [content(sample) for sample in Stream(samples(split, strong=True), 0).samples(slots(16))]
    stream = Stream(samples(split, strong=True), 2)
    assert [content(sample) for sample in stream.samples(slots(16))] == alone
    assert all(a[1] == b[1] and a[2] != b[2] for a, b in zip(alone, expected, strict=True))


def test_the_digest_covers_record_frames_place_and_augmentation(split, monkeypatch):
    from train.data import samples as module

    plain = samples(split)[1, 1, 0]
    assert samples(split)[1, 1, 1].digest != plain.digest
    drawn = module.draw_params(module.generator(SEED, 1, 1, "crop"))
    for change in [
        {"reverse": not drawn.reverse},
        {"start": (drawn.start + 0.5) % 1},
        {"jitter": "gray"},
        {"outer": drawn.outer + 1},
        {"inner": drawn.inner + 1},
        {"tiles": tuple((1 - y, 1 - x) for y, x in drawn.tiles)},
        {"look": draw_look(module.generator(SEED))},
    ]:
        changed = type(drawn)(**(vars(drawn) | change))
        monkeypatch.setattr(module, "draw_params", lambda *_, changed=changed: changed)
        assert samples(split)[1, 1, 0].digest != plain.digest, change


def test_a_bad_record_is_named_and_replaced_by_what_the_slot_alone_decides(split):
    fault = samples(split)[4, 9, 2].bad_records[0]
    assert fault.key == "test_6_0" and fault.shard.endswith("s0-00.tar") and "crc32" in fault.reason
    for position in range(15):
        attempt, chosen = 1, replacement(SEED, 4, position, 1, 7)
        while chosen == 2:
            attempt += 1
            chosen = replacement(SEED, 4, position, attempt, 7)
        found = samples(split)[4, position, 2]
        assert (found.slot.record, len(found.bad_records)) == (chosen, attempt)
        assert torch.equal(found.frames, samples(split)[4, position, chosen].frames)


def test_a_slot_gives_up_after_ten_bad_records(tmp_path):
    split = make_split(tmp_path / "train", records=1, shards=1, size=72)
    flip(split, record=0, at=0.5)
    with pytest.raises(ValueError, match=r"10 bad records in a row.*crc32.*tools/verify.py"):
        next(Stream(samples(split), 0).samples([(1, 0, 0)]))


def test_a_passing_fault_of_the_disk_is_read_again(split, monkeypatch):
    from train.data import samples as module

    real, calls = module.read_record, []

    def flaky(index, entry):
        calls.append(entry.key)
        if len(calls) == 1:
            raise OSError(errno.EIO, "Input/output error")
        return real(index, entry)

    expected = content(samples(split)[1, 0, 0])
    monkeypatch.setattr(module, "read_record", flaky)
    assert content(samples(split)[1, 0, 0]) == expected and len(calls) == 2


@pytest.mark.parametrize(
    ("error", "words"),
    [(MemoryError(), "out of memory in"), (OSError(errno.EMFILE, "Too many open files", "a.tar"), "ulimit -n")],
    ids=["memory", "open files"],
)
def test_what_a_worker_lacks_is_one_line_and_no_record_is_blamed(error, words, split):
    def fail(*_):
        raise error

    records = Samples(Records(list_shards(split)), 12, TILE, SEED, read=fail)
    with contextlib.closing(Stream(records, 1)) as stream, pytest.raises(UserError) as caught:
        list(stream(slots(3)))
    assert words in str(caught.value) and "Traceback" not in str(caught.value) and "--resume" in str(caught.value)


def test_evaluation_leaves_a_bad_record_out_instead_of_counting_another_twice(split):
    found = list(Stream(samples(split, seed=None), 0)(eval_slots(7, 0, 1)))
    assert [type(item) for item in found].count(BadRecord) == 1
    assert [item.slot.record for item in found if not isinstance(item, BadRecord)] == [0, 1, 3, 4, 5, 6]


@pytest.mark.parametrize("world", [1, 2, 4, 9])
def test_ranks_share_the_evaluation_records(world):
    every = [number for rank in range(world) for _, _, number in eval_slots(7, rank, world)]
    assert sorted(every) == list(range(7))


def test_records_are_the_entries_of_all_shards_in_order(split):
    shards, records = list_shards(split), Records(list_shards(split))
    listed = [(shard, entry) for shard in shards for entry in shard.records]
    assert len(records) == 7
    assert [records[number][1] for number in range(7)] == [entry for _, entry in listed]
    assert [records[number][0].tar for number in range(7)] == [shard.tar for shard, _ in listed]


def test_the_fingerprint_is_that_of_the_content_wherever_it_lies(split, tmp_path):
    shutil.copytree(split, tmp_path / "copy")
    assert Records(list_shards(tmp_path / "copy")).fingerprint() == Records(list_shards(split)).fingerprint()
    make_split(tmp_path / "copy", records=1, shards=1, first=50, size=72)
    assert Records(list_shards(tmp_path / "copy")).fingerprint() != Records(list_shards(split)).fingerprint()


def test_records_that_are_too_small_are_told_before_training(split):
    Samples(Records(list_shards(split)), 12, 72).check_fit()
    with pytest.raises(ValueError, match=r"s0-00.tar: tile 80 does not fit 72x72 records: pass --tile 72 or less"):
        Samples(Records(list_shards(split)), 12, 80).check_fit()


def test_workers_ignore_the_signals_that_stop_a_run(split, expected):
    before = children(os.getpid())
    stream = Stream(samples(split), 2).samples(slots(16))
    found = [content(next(stream)) for _ in range(4)]
    workers = set(children(os.getpid())) - set(before)
    assert len(workers) >= 2
    for worker in workers:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            os.kill(worker, number)
    assert found + [content(sample) for sample in stream] == expected


def test_a_signal_to_a_worker_that_has_just_started_does_not_end_it(split, expected, monkeypatch):
    def begin(_):  # before it ignores them
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            os.kill(os.getpid(), number)

    monkeypatch.setattr(module, "_prepare_worker", begin)
    assert [content(sample) for sample in Stream(samples(split), 2).samples(slots(16))] == expected


def test_a_worker_that_dies_is_one_line(split):
    before = children(os.getpid())
    with pytest.raises(UserError, match=r"^a data worker died.*--resume.*--num-workers$"), explain_worker_death():
        for _ in Stream(samples(split), 1).samples(slots(10) * 100):
            for worker in set(children(os.getpid())) - set(before):
                os.kill(worker, signal.SIGKILL)


@pytest.mark.slow
def test_a_run_whose_worker_dies_ends_with_one_line_and_status_2(tmp_path):
    data = make_data(tmp_path / "data", records=2, evaluation=1, size=72)
    job = trainings.start(tmp_path, *trainings.command(data, tmp_path, "--num-workers", "1", "--max-epoch", "100000"))
    job.wait_for_log("epoch 1/")
    for worker in children(job.pids[0]):
        os.kill(worker, signal.SIGKILL)
    assert job.wait() == [2]
    last = job.log().splitlines()[-1]
    assert last.startswith("error: a data worker died") and "Traceback" not in job.log()


def resident(pid):
    """Bytes of memory that the process holds for itself."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def growth(folder, count, warm):
    """Bytes by which a worker grows from its `warm`-th sample to the last of `count`, and what it holds then."""
    samples = Samples(Records(list_shards(make_split(folder, records=3, shards=1, size=136))), 12, 128, SEED)
    before, seen = children(os.getpid()), {}
    row = np.random.default_rng(0).integers(0, 3, count).tolist()
    stream = Stream(samples, 1).samples([(1, position, number) for position, number in enumerate(row)])
    for position, _ in enumerate(stream):
        if position in (warm, count - 1):
            (worker,) = set(children(os.getpid())) - set(before)
            seen[position] = resident(worker)
    return seen[count - 1] - seen[warm], seen[count - 1]


@pytest.mark.slow
def test_the_memory_of_a_worker_does_not_grow(tmp_path):
    # In a process of its own: what the tests before left in the heap would be the worker's, too.
    module = "tests.train.data.test_stream"
    code = f"import sys; from {module} import Path, growth; print(growth(Path(sys.argv[1]), 150, 20)[0])"
    out = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, check=True, capture_output=True, text=True)
    assert int(out.stdout) < 40e6  # 110 MB when torch keeps memory of 64 samples of 2.4 MB
