"""Machines of a torchrun job that leave and come back."""

import itertools
import signal

import pytest

from tests.support.shards import make_data
from tests.support.training import nodes, trainings
from train.runtime import restarts
from train.runtime.restarts import UNFINISHED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("restarts") / "data", records=6, evaluation=2, size=72)


class Asked:
    def wait(self, seconds):
        assert seconds == restarts.PATIENCE
        return True


class NotAsked:
    def wait(self, seconds):
        return False


@pytest.mark.parametrize(
    ("machines", "stop", "finished", "status"),
    [
        ("2", Asked(), False, 0),
        ("2", NotAsked(), False, UNFINISHED),
        ("2", NotAsked(), True, 0),
        ("1", NotAsked(), False, 0),  # a signal to one process of a machine ends the job
    ],
)
def test_torchrun_starts_again_what_only_another_machine_was_asked_to_stop(
    machines, stop, finished, status, monkeypatch
):
    monkeypatch.setenv("GROUP_WORLD_SIZE", machines)
    assert restarts.status_at_end(stop, finished) == status


def test_a_process_that_was_not_asked_to_stop_does_not_end_as_if_the_run_were_complete(data, tmp_path):
    """The first of three processes gets a signal, and the second one while it waits for its own."""
    hooks = [["always return", "train.runtime.signals.Stop.wait", False]]
    flags = trainings.command(data, tmp_path / "model", "--backward-step", "4", "--max-epoch", "100000")
    job = trainings.start(tmp_path, *flags, world=3, hooks=hooks, hooked=[2], more={"GROUP_WORLD_SIZE": "3"})
    job.wait_for_log("epoch 1/")
    job.kill(signal.SIGTERM, ranks=[0])
    job.wait_for_log("stopped by SIGTERM")
    job.kill(signal.SIGTERM, ranks=[1])
    assert job.wait() == [0, 0, UNFINISHED]
    saved = trainings.checkpoint(tmp_path / "model")["backfill"]["place"]
    assert f"in epoch {saved['epoch']} after {saved['slots_done']} sequences" in job.log()


@pytest.mark.timeout(900)  # nine processes, each of which imports torch
def test_a_job_goes_on_with_fewer_machines_and_takes_back_one_that_was_lost(data, tmp_path):
    """Losses are those of one process; what a lost machine costs is the steps since the checkpoint, a new one none."""
    more = "--num-samples 144 --backward-step 3 --max-epoch 4 --save-every-steps 2 --resume".split()
    alone = tmp_path / "alone"
    trainings.train(alone, *trainings.command(data, alone, *more))
    with nodes.Job(tmp_path / "job", 2, trainings.command(data, tmp_path / "model", *more), isolated=False) as job:
        job.start(1)
        job.start(2)
        job.wait_for(2, 1)
        job.run_to(3)
        assert job.wait_for(2, 3)[-1]["step"] == 3
        job.kill(2)
        job.run_to(5)
        assert job.wait_for(1, 5)[-1]["step"] == 5
        job.start(2)
        assert job.wait_for(2, 6)[-1]["step"] == 6
        assert job.end() == [0, 0]
    done = nodes.steps(tmp_path / "job")
    starts = list(dict.fromkeys((one["start"], one["world"]) for one in done))
    assert [world for _, world in starts][-3:] == [2, 1, 2], starts  # one of them may have started before the other
    again = [one["step"] for one, after in itertools.pairwise(done) if after["step"] <= one["step"]]
    assert again == [3]  # the lost machine took the third step with it
    found, expected = (trainings.checkpoint(folder)["backfill"]["place"] for folder in (tmp_path / "model", alone))
    assert found["digest"] == expected["digest"] and found["step"] == expected["step"]
    curves, reference = trainings.curves(tmp_path / "model"), trainings.curves(alone)
    for tag, series in reference.items():
        if "/train/" in tag or tag.startswith("epochs/eval/loss"):
            assert [step for step, _ in curves[tag]] == [step for step, _ in series]
            assert [value for _, value in curves[tag]] == pytest.approx([value for _, value in series], rel=1e-5)
