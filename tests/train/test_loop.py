"""What a run logs at the end of an epoch."""

from dataclasses import replace

import pytest
import torch

from tests.support.shards import make_data
from tests.support.training import trainings
from tests.support.training.here import run_here
from tests.support.training.trainings import one_thread  # noqa: F401
from tools import cli
from train import loop
from train.config import OPEN_END

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("loop") / "data", records=4, evaluation=2, size=72)


@pytest.fixture
def run(data, tmp_path, monkeypatch):
    """A run of 9 epochs of 4 sequences, evaluated after 4, 8 and 9, that is at the end of its second."""
    with run_here(data, tmp_path, monkeypatch, "--max-epoch", "9", "--scheduler", "step", "--eval-step", "4") as run:
        run.position.epoch, run.position.slots_done = 2, 4
        yield run


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


def test_a_run_that_somebody_will_end_names_no_last_epoch_and_no_time_left(data, tmp_path, monkeypatch, capsys):
    with run_here(data, tmp_path, monkeypatch, "--max-epoch", str(OPEN_END), "--scheduler", "step") as run:
        out = logged(capsys, run, training=10.0, sequences=4)
    assert out.startswith("epoch 1: ") and "left" not in out


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


@pytest.mark.parametrize("metric", ["loss", "masked_psnr", "masked_tde"])
def test_a_network_of_nan_is_never_the_best_and_is_not_written(run, capsys, metric):
    run.job = replace(run.job, config=replace(run.job.config, eval_metric=metric, save_epoch=True))
    run.position.epoch = 4
    with torch.no_grad():
        run.learner.network.mask_bias.fill_(float("nan"))
    assert loop.finish_epoch(run, loop.EpochTimes())
    out = capsys.readouterr().out
    assert "mask_bias of the network holds NaN or infinity: it is not exported" in out and "(best)" not in out
    assert f"warning: epoch 4: {metric} is nan, this network cannot be the best" in out
    assert run.position.best is None and not [*run.job.folder.rglob("*.bk"), *run.job.folder.rglob("*v1.pth")]


def test_an_epoch_whose_steps_were_all_skipped_has_no_loss_instead_of_0(run, capsys):
    assert "epoch 2/9: no step counted, " in logged(capsys, run)
    assert run.position.rows == [[2, None, None]]
    assert (run.job.folder / f"loss_{run.position.run_id}.csv").read_text() == "2,,\n"


def test_a_run_that_never_was_finite_does_not_name_a_best_network(data, tmp_path):
    hook = ["return nan at", "train.objectives.loss.Loss.weighted", list(range(1, 100))]
    log = trainings.train(tmp_path, *trainings.command(data, tmp_path, "--max-epoch", 2), hooks=[hook]).log()
    assert "epoch 1/1: no step counted, " in log and "loss is nan, this network cannot be the best" in log
    assert log.splitlines()[-1].startswith("done, but this run has no best network")
    assert not (tmp_path / f"{trainings.NAME}.pth").exists()
