"""One training at a time writes to a model folder."""

import re
import signal
import subprocess
import sys

import pytest

from tests.support.shards import make_data
from tests.support.training import trainings
from tools.cli import UserError, locks
from train.runtime import lock

pytestmark = pytest.mark.slow

LOCK = "training.lock"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("lock") / "data", records=4, evaluation=2, size=72)


def stopped_in_a_step(data, folder):
    """A training that SIGSTOP holds in its third step, with its lock held."""
    flags = trainings.command(data, folder)
    job = trainings.start(folder / "a", *flags, hooks=[["signal at", "train.step.update", 3, signal.SIGSTOP]])
    job.wait_until_stopped()
    assert "epoch 1/3" in job.log()
    assert (folder / LOCK).read_text().startswith(f"process {job.pids[0]} on ")
    return job


@pytest.mark.parametrize("world", [1, 2])
def test_a_second_training_in_the_folder_is_refused_in_one_line_before_it_writes(world, data, tmp_path):
    first = stopped_in_a_step(data, tmp_path)
    second = trainings.start(tmp_path.parent / f"log{world}", *trainings.command(data, tmp_path), world=world)
    assert second.wait() == [2] * world
    (line,) = second.log().splitlines()
    assert re.fullmatch(rf"error: {tmp_path} is in use by another training \(process {first.pids[0]} on .+\): .+", line)
    assert "the checkpoint of an earlier run is kept" not in second.log() and len(list(tmp_path.glob("logs/*"))) == 1
    dry = trainings.start(tmp_path.parent / f"dry{world}", *trainings.command(data, tmp_path), "--dry-run")
    assert dry.wait() == [0], dry.log()
    first.kill(signal.SIGCONT)
    assert first.wait() == [0], first.log()
    assert not (tmp_path / LOCK).exists()


def test_the_lock_of_a_killed_training_is_taken_over(data, tmp_path):
    first = stopped_in_a_step(data, tmp_path)
    first.kill()
    assert first.wait() == [-signal.SIGKILL]
    assert (tmp_path / LOCK).exists()
    log = trainings.train(tmp_path / "b", *trainings.command(data, tmp_path), "--resume").log()
    assert "resumed in epoch" in log and not (tmp_path / LOCK).exists()


HOLDER = """if True:
    import fcntl, sys
    file = open(sys.argv[1], "a+")
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("process 7 on a machine of job night", file=file, flush=True)
    print("held", flush=True)
    sys.stdin.read()
    """


def acquired(folder, job, monkeypatch, capsys, patience):
    """What is printed when another process holds the lock, which it releases while this one of the job waits."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", job)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder / LOCK], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == "held\n"
        monkeypatch.setattr(locks.time, "sleep", lambda _: other.communicate())
        with lock.held(folder, patience):
            assert (folder / LOCK).read_text().endswith(f" of job {job}\n")
            return capsys.readouterr().out


def test_a_restart_waits_for_the_lock_of_an_earlier_start_of_its_job_but_not_of_another(tmp_path, monkeypatch, capsys):
    said = acquired(tmp_path, "night", monkeypatch, capsys, patience=60)
    assert re.fullmatch(
        rf"waiting for an earlier start of this job, process 7 on a machine of job night, .*{tmp_path}\n", said
    )
    for job, patience in (("day", 60), ("none", 60), ("night", 0)):
        with pytest.raises(UserError, match="in use by another training"):
            acquired(tmp_path, job, monkeypatch, capsys, patience)


def test_a_training_that_cannot_start_leaves_no_folder_and_a_dry_run_no_lock(data, tmp_path):
    job = trainings.start(tmp_path / "a", *trainings.command(tmp_path / "none", tmp_path / "model"))
    assert job.wait() == [2] and not (tmp_path / "model").exists()
    trainings.train(tmp_path / "b", *trainings.command(data, tmp_path / "model"), "--dry-run")
    assert not (tmp_path / "model").exists()
