"""What a run logs at the end of an epoch."""

import pytest
import torch

from tests.support import trainings
from tests.support.shards import make_data
from tests.support.trainings import one_thread  # noqa: F401
from tools import cli
from train import build as setup
from train import loop
from train.config import Config
from train.runtime.dist import Group

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("loop") / "data", records=4, evaluation=2, size=72)


@pytest.fixture
def run(data, tmp_path, monkeypatch):
    """A run of 9 epochs of 4 sequences, evaluated after 4, 8 and 9, that is at the end of its second."""
    monkeypatch.setattr(setup, "create_network", trainings.create_tiny)
    flags = trainings.command(data, tmp_path, "--max-epoch", "9", "--scheduler", "step", "--eval-step", "4")

    run = setup.build(cli.parse(Config, flags), Group(0, 1, torch.device("cpu")), trainings.NoStop())
    run.position.epoch, run.position.slots_done = 2, 4
    yield run
    run.curves.close()


def logged(capsys, run, **times):
    capsys.readouterr()
    loop.close_epoch(run, loop.EpochTimes(**times))
    return capsys.readouterr().out


def test_time_left_is_that_of_the_epochs_and_evaluations_to_come(run, capsys):
    out = logged(capsys, run, training=10.0, evaluating=100.0, sequences=2)
    assert out.strip().endswith(f", {cli.duration(7 * 20 + 3 * 100)} left")
    run.position.epoch = 8
    out = logged(capsys, run, training=10.0, evaluating=100.0, sequences=4)
    assert out.strip().endswith(f", {cli.duration(10 + 100)} left")


def test_an_epoch_that_was_only_evaluated_logs_no_time_left(run, capsys):
    assert "left" not in logged(capsys, run)


@pytest.mark.parametrize(("waited", "warned"), [(0.49, False), (0.51, True)])
def test_waiting_for_data_more_than_a_twentieth_of_the_time_is_reported_with_flags_to_change(
    run, capsys, waited, warned
):
    out = logged(capsys, run, training=10.0, waiting=waited, sequences=4)
    assert f"data wait {waited * 10:.1f} %" in out
    assert ("training waits for data: try --num-workers" in out) == warned


@pytest.mark.parametrize(
    ("workers", "processes", "advice"),
    [
        (0, 1, "--num-workers 2 instead of 0"),
        (4, 1, "--num-workers 8 instead of 4"),
        (12, 1, "--num-workers 16 instead of 12"),
        (16, 1, "--tiles-per-record 2 in a new run"),
        (4, 4, "--tiles-per-record 2 in a new run"),
    ],
)
def test_more_workers_are_advised_as_long_as_there_are_cores(workers, processes, advice, monkeypatch):
    monkeypatch.setattr(loop, "usable_cores", lambda: 16)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert loop.faster_data(workers).startswith(advice)
