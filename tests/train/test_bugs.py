"""A bug of ours shows its traceback: it is not taken for a bad record, a worker that died or a process that is gone."""

import pytest

from tests.support.hostile.fault_injection import PLANTED
from tests.support.shards import make_data
from tests.support.training import trainings


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("bugs") / "data", records=4, evaluation=2, size=72)


def run(data, folder, path, call, *flags, world=1):
    """Exit statuses and logs of a training whose first process meets a bug at a call of the function at this path."""
    hook = ["raise at", path, call]
    command = trainings.command(data, folder, *flags)
    job = trainings.start(folder, *command, world=world, hooks=[hook], hooked=[0])
    return job.wait(), [job.log(rank) for rank in range(world)]


def test_a_bug_in_making_a_sample_ends_the_run_with_its_traceback_and_nothing_in_quarantine(data, tmp_path):
    (status,), (log,) = run(data, tmp_path, "train.data.samples.cut", 3)
    assert status == 1 and log.count("Traceback") == 1 and log.rstrip().endswith(PLANTED)
    assert not (tmp_path / "quarantine.jsonl").exists()


def test_a_bug_in_a_worker_process_shows_the_traceback_of_the_worker(data, tmp_path):
    (status,), (log,) = run(data, tmp_path, "train.data.samples.cut", 3, "--num-workers", 1)
    assert status == 1 and "in DataLoader worker process 0" in log and "train/data/samples.py" in log
    assert log.rstrip().endswith(PLANTED) and "a data worker died" not in log
    assert not (tmp_path / "quarantine.jsonl").exists()


def test_a_bug_in_a_collective_operation_is_not_the_end_of_another_process(data, tmp_path):
    statuses, (log, other) = run(data, tmp_path, "torch.distributed.all_to_all_single", 2, world=2)
    assert statuses == [1, 2]
    assert log.count("Traceback") == 1 and log.rstrip().endswith(PLANTED) and "another process" not in log
    assert "error: another process of the job ended or cannot be reached" in other and "Traceback" not in other


def test_a_bug_in_what_the_first_process_does_for_all_ends_them_all_with_one_traceback(data, tmp_path):
    statuses, (log, other) = run(data, tmp_path, "train.loop.write_epoch", 1, world=2)
    assert statuses == [1, 2]
    assert log.count("Traceback") == 1 and log.rstrip().endswith(PLANTED)
    assert other.splitlines()[-1] == "[rank 1] error: the first process of the job failed: see its traceback"
    assert "Traceback" not in other
