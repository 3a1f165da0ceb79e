"""Waits for a process that hangs end, and it is named."""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist

from tests.support.processes import children, is_stopped
from tests.support.shards import make_data
from tests.support.training import trainings
from train.runtime import watch as module
from train.runtime.flight import FlightRecorder
from train.runtime.watch import Beat, Watch

NOW = 1000.0


def waiting(**changes):
    """The watch of rank 1 of 4 that has waited for 20 s, and whose peers have just been heard of."""
    watch = Watch(rank=1, world_size=4, timeout=600)
    watch.depth, watch.entered, watch.since, watch.answered = 1, 7, NOW - 20, NOW - 1
    watch.beats = {rank: Beat(50, 7, NOW - 1) for rank in (0, 2, 3)}
    for name, value in changes.items():
        setattr(watch, name, value)
    return watch


def signalled(*numbers, ago=15.0, apart=5.0):
    return [(number, NOW - ago + apart * i) for i, number in enumerate(numbers)]


def silent(*ranks):
    return {rank: Beat(50, 7, NOW - (30 if rank in ranks else 1)) for rank in (0, 2, 3)}


def test_a_wait_within_the_timeout_goes_on():
    assert waiting()._ending(NOW) is None
    assert waiting(beats=silent(2))._ending(NOW) is None
    assert waiting(depth=0, since=0.0)._ending(NOW) is None  # the main thread computes


@pytest.mark.parametrize(
    ("speaker", "beats", "named"),
    [
        (0, silent(3), "rank 3, which does not answer"),
        (1, silent(0, 3), "ranks 0, 3, which does not answer"),
        (0, {1: Beat(9, 7, NOW), 2: Beat(9, 6, NOW), 3: Beat(9, 8, NOW)}, "rank 2, which is busy with something else"),
        (0, silent(), "another process, though none is behind"),
    ],
)
def test_after_the_timeout_the_process_ends_and_names_the_one_that_it_waited_for(speaker, beats, named):
    line, status = waiting(rank=speaker, beats=beats, since=NOW - 601)._ending(NOW)
    assert status == 2
    assert line.startswith(f"error: waited 10m01s for {named}") and "--timeout" in line


def test_the_line_says_in_which_operation_and_where_the_last_operations_are(tmp_path):
    recorder = FlightRecorder(tmp_path, rank=1, backend="gloo")
    line, _ = waiting(rank=1, beats=silent(0), since=NOW - 601, operation="all_gather", recorder=recorder)._ending(NOW)
    assert ", in all_gather (operation 7 of the run); " in line
    assert f"`torchfrtrace {tmp_path / 'flight_recorder'} -p rank_` compares the last operations; continue" in line


def test_one_of_the_processes_that_wait_speaks_for_all():
    lines = [waiting(rank=rank, beats=silent(0), since=NOW - 601)._ending(NOW)[0] for rank in (1, 2, 3)]
    assert [bool(line) for line in lines] == [True, False, False]


def test_a_signal_ends_a_wait_for_a_process_that_does_not_answer():
    line, status = waiting(signals=signalled(signal.SIGTERM), beats=silent(2))._ending(NOW)
    assert status == 128 + signal.SIGTERM
    assert line.startswith("stopped by SIGTERM while waiting for rank 2, which does not answer")
    assert "continue with --resume from the last checkpoint" in line


def test_a_signal_does_not_end_a_wait_for_a_process_that_answers_or_a_short_one():
    assert waiting(signals=signalled(signal.SIGTERM))._ending(NOW) is None  # it will stop all together
    assert waiting(signals=signalled(signal.SIGTERM, ago=3), beats=silent(2))._ending(NOW) is None
    assert waiting(signals=signalled(signal.SIGTERM), beats=silent(2), since=NOW - 3)._ending(NOW) is None


@pytest.mark.parametrize("pause", [{"since": NOW - 601}, {"signals": signalled(signal.SIGTERM)}])
def test_a_process_that_was_itself_suspended_hears_the_others_before_it_judges(pause):
    watch = waiting(beats=silent(0), **pause)
    for now in (NOW - 40, NOW - 39, NOW):
        watch._look(now)
    assert watch._ending(NOW) is None
    for now in range(1, 12):
        watch._look(NOW + now)
    watch.answered, watch.beats = NOW + 10, {rank: Beat(51, 7, NOW + 10 * (rank != 0)) for rank in (0, 2, 3)}
    assert "rank 0, which does not answer" in watch._ending(NOW + 11)[0]


def test_a_second_ctrl_c_ends_any_wait():
    twice = signalled(signal.SIGINT, signal.SIGINT)
    assert waiting(signals=twice)._ending(NOW) == ("interrupted", 130)
    assert waiting(signals=signalled(signal.SIGINT, signal.SIGINT, apart=0.1))._ending(NOW) is None  # the same one
    assert waiting(signals=twice, depth=0)._ending(NOW) is None  # Python raises KeyboardInterrupt


def test_a_store_that_does_not_answer_is_named():
    line, _ = waiting(signals=signalled(signal.SIGTERM), answered=NOW - 30)._ending(NOW)
    assert "the process that holds the store of the job" in line
    line, _ = waiting(signals=signalled(signal.SIGTERM), answered=0.0)._ending(NOW)
    assert "waiting for the other processes to start" in line


def test_heartbeats_are_published_and_read_while_the_process_waits(monkeypatch):
    monkeypatch.setattr(module, "BEAT", 0.01)
    store, watches = dist.HashStore(), [Watch(rank, 2, 600) for rank in (0, 1)]
    with watches[1].waiting():
        pass
    for watch in watches:
        watch.share(store)
    with watches[0].waiting():
        watches[0].since -= 10
        while watches[0].beats[1].entered != 1:
            time.sleep(0.01)
    for watch in watches:
        watch.closed.set()
    assert watches[1].beats[0].number == 0  # it does not wait, and so does not read


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("watch") / "data", records=4, evaluation=2, size=72)


@contextlib.contextmanager
def stopped(data, folder, place, *more, others=()):
    """A training of two processes, of which the second has been stopped as by Ctrl-Z, at its second call of `place`.

    `others` are hooks of the first one; a file `stopped` shows it when the second one is.
    """
    hooks = [["signal at", place, 2, signal.SIGSTOP]]
    flags = trainings.command(data, folder, *more)
    job = trainings.start(folder, *flags, world=2, hooks=hooks, hooked=[1], others=others)
    try:
        job.wait_until_stopped(1)
        (folder / "stopped").touch()
        yield job
    finally:
        job.kill(ranks=[1])
        trainings.ask(wait=job.pids[1], seconds=480)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["train.step.forward_backward", "torch.distributed.all_gather_object"])
def test_a_process_that_hangs_is_named_in_one_line_and_the_job_ends(place, data, tmp_path):
    others = [["give up at", place, 2, str(tmp_path / "stopped"), 15]]
    with stopped(data, tmp_path, place, others=others) as job:
        assert trainings.ask(wait=job.pids[0], seconds=480) == 2
    last = job.log().splitlines()[-1]
    assert last.startswith("error: waited ") and "for rank 1, which does not answer" in last
    assert f", in {place.rpartition('.')[2]} (operation " in last
    entries = pickle.loads((tmp_path / "flight_recorder" / "rank_0").read_bytes())["entries"]
    assert len(entries) > 1 and not entries[-1]["retired"]
    assert "Traceback" not in job.log()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_process_does_not_make_the_others_deaf_to_signals(number, data, tmp_path):
    with stopped(data, tmp_path, "train.step.forward_backward", "--save-every-steps", 1) as job:
        job.kill(number, ranks=[0])
        assert trainings.ask(wait=job.pids[0], seconds=480) == 128 + number
    last = job.log().splitlines()[-1]
    assert last.startswith(f"stopped by {number.name} while waiting for rank 1, which does not answer"), last
    log = trainings.train(tmp_path, *trainings.command(data, tmp_path, "--resume"), world=2).log()
    assert "resumed in epoch 1" in log and "done:" in log


@pytest.mark.slow
def test_under_torchrun_a_stopped_worker_and_a_signal_to_another_end_the_job(data, tmp_path):
    hooks = json.dumps([["signal at", "train.step.forward_backward", 2, signal.SIGSTOP]])
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += [trainings.__file__, str(tmp_path), hooks, *trainings.command(data, tmp_path / "model")]
    job = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    try:
        log = tmp_path / "0.log"
        trainings.wait_until(lambda: log.exists() and "parameters on" in log.read_text())
        workers = [pid for pid in children(job.pid) if "trainings.py" in Path(f"/proc/{pid}/cmdline").read_text()]
        trainings.wait_until(lambda: any(map(is_stopped, workers)))
        (worker,) = (pid for pid in workers if not is_stopped(pid))
        os.kill(worker, signal.SIGTERM)
        assert job.wait(480) == 1
        assert log.read_text().splitlines()[-1].startswith("stopped by SIGTERM while waiting for rank 1")
    finally:
        job.kill()
