"""Machines of a torchrun job that leave and come back; `make test-hard` does it with several torchruns (elastic)."""

import signal

import pytest

from tests.support.shards import make_data
from tests.support.training import trainings
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
