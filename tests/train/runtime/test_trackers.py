"""Trackers get what TensorBoard gets, keep it while a server is away, and never end a run."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.shards import make_data
from tests.support.training import trainings
from tests.support.training.trainings import one_thread  # noqa: F401
from tools import cli
from tools.cli import UserError
from train import build as setup
from train.config import Config
from train.loop import train
from train.runtime import trackers
from train.runtime.dist import Group
from train.runtime.trackers import TrackedRun, open_tracker

pytestmark = pytest.mark.slow

PICTURE = np.full((4, 6, 3), 7, np.uint8)


@pytest.fixture
def tracked(tmp_path):
    return TrackedRun("2026-7", "a run", tmp_path, {"tile": 64, "init": "copy", "sides": (1, 2)})


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A folder that mlflow writes to, and a client that reads it."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    from mlflow import MlflowClient  # slow

    return MlflowClient((tmp_path / "mlruns").as_uri())


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")


def runs_in(store):
    return store.search_runs([store.get_experiment_by_name("backfill").experiment_id])


def points_in(store, name):
    return [(point.step, point.value) for point in store.get_metric_history(runs_in(store)[0].info.run_id, name)]


def records_of(path):
    """The records of a .wandb file: a log of LevelDB, 32 KiB blocks of pieces behind crc, length and kind."""
    import wandb  # slow
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # as at the end of the process: wait until its service has written everything
    data, at, whole = path.read_bytes(), 7, b""
    while at < len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            yield Record.FromString(whole)
            whole = b""


def history_of(path):
    """The rows that were logged: value by name, with a dot between the names of an image and of its property."""
    for record in records_of(path):
        if record.HasField("history"):
            yield {".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}


def log_all(tracker):
    tracker.log({"train/loss": 0.5, "rates/learning_rate": 1e-4}, 3)
    tracker.log({"eval/0": PICTURE}, 4)


def test_without_a_tracker_there_is_none(tracked):
    assert open_tracker("none", tracked) is None


@pytest.mark.parametrize("kind", ["wandb", "mlflow"])
def test_a_package_that_is_not_installed_is_one_line_that_says_how_to_install_it(kind, tracked, monkeypatch):
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(UserError, match=f"needs the package {kind}: run make setup EXTRAS={kind}"):
        open_tracker(kind, tracked)
    assert (Path(__file__).parents[3] / "requirements" / f"{kind}.txt").exists()


def test_mlflow_gets_points_images_and_settings(tracked, store):
    tracker = open_tracker("mlflow", tracked)
    log_all(tracker)
    tracker.close(finished=True)
    (run,) = runs_in(store)
    assert run.info.status == "FINISHED" and run.info.run_name == "a run"
    assert run.data.params == {"tile": "64", "init": "copy", "sides": "(1, 2)"}
    assert points_in(store, "train/loss") == [(3, 0.5)] and points_in(store, "rates/learning_rate") == [(3, 1e-4)]
    assert any(file.path.endswith(".png") for file in store.list_artifacts(run.info.run_id, "images"))


def test_mlflow_continues_the_same_run_after_a_resume(tracked, store):
    for finished, step in ((False, 1), (True, 2)):
        tracker = open_tracker("mlflow", tracked)
        assert runs_in(store)[0].info.status == "RUNNING"
        tracker.log({"train/loss": float(step)}, step)
        tracker.close(finished)
        assert [run.info.status for run in runs_in(store)] == ["FINISHED" if finished else "KILLED"]
    assert points_in(store, "train/loss") == [(1, 1.0), (2, 2.0)]


def test_an_mlflow_server_that_is_away_is_one_warning_and_gets_its_points_when_it_is_back(
    tracked, store, monkeypatch, capsys
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    tracker = open_tracker("mlflow", tracked)
    assert capsys.readouterr().out.startswith("warning: mlflow is unavailable")
    for step in range(3):
        tracker.next = 0.0
        tracker.log({"train/loss": float(step)}, step)
    assert capsys.readouterr().out == ""
    tracker.client = store
    tracker.log({"eval/0": PICTURE}, 3)
    tracker.close(finished=True)
    assert points_in(store, "train/loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]


def test_a_server_that_stays_away_is_asked_less_and_less_often_and_costs_no_more_than_its_share_of_memory(
    tracked, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(trackers, "MOST_POINTS", 10)
    tracker = open_tracker("mlflow", tracked)
    pauses = []
    for step in range(20):
        tracker.next = 0.0
        tracker.log({"train/loss": float(step)}, step)
        pauses.append(tracker.pause)
    assert pauses == sorted(pauses) and pauses[-1] == trackers.LONGEST_PAUSE
    assert [point.step for point in tracker.points] == list(range(10, 20))
    tracker.close(finished=False)


def test_wandb_offline_keeps_points_images_and_settings_in_files(tracked, offline):
    tracker = open_tracker("wandb", tracked)
    log_all(tracker)
    tracker.close(finished=True)
    (path,) = tracked.folder.glob("wandb/offline-run-*-2026-7/run-2026-7.wandb")
    first, second = history_of(path)
    assert {name: first[name] for name in ("train/loss", "rates/learning_rate", "step")} == {
        "train/loss": 0.5,
        "rates/learning_rate": 1e-4,
        "step": 3,
    }
    assert second["step"] == 4 and (second["eval/0.width"], second["eval/0.height"]) == (6, 4)
    run = next(record.run for record in records_of(path) if record.HasField("run"))
    assert (run.run_id, run.project, run.display_name) == ("2026-7", "backfill", "a run")
    settings = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (settings["tile"], settings["init"], settings["sides"]) == (64, "copy", [1, 2])


def test_wandb_continues_the_same_run_after_a_resume(tracked, offline):
    for finished in (False, True):
        tracker = open_tracker("wandb", tracked)
        assert tracker.run.id == "2026-7" and tracker.run.settings.resume == "allow"
        tracker.close(finished)


def test_without_a_wandb_account_or_server_there_is_a_warning_and_the_run_is_kept_in_files(
    tracked, monkeypatch, tmp_path, capsys
):
    import wandb  # slow

    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    begin = wandb.init

    def init(**settings):
        if settings.get("mode") != "offline":
            raise wandb.errors.CommError("no\nserver")
        return begin(**settings)

    monkeypatch.setattr(wandb, "init", init)
    tracker = open_tracker("wandb", tracked)
    assert capsys.readouterr().out.startswith("warning: wandb is unavailable (no server): this run is kept in ")
    log_all(tracker)
    tracker.close(finished=True)
    (path,) = tracked.folder.glob("wandb/offline-run-*-2026-7/run-2026-7.wandb")
    assert len(list(history_of(path))) == 2


class Recorder:
    """A tracker that remembers what it gets."""

    def __init__(self, run):
        self.run, self.values, self.finished = run, {}, None

    def log(self, values, step):
        for name, value in values.items():
            self.values.setdefault(name, []).append((step, value))

    def close(self, finished):
        self.finished = finished


def test_a_tracker_gets_every_point_and_image_of_tensorboard(tmp_path, monkeypatch):
    data = make_data(tmp_path / "data", records=4, evaluation=2, size=72)
    monkeypatch.setattr(setup, "create_network", trainings.create_tiny)
    monkeypatch.setattr(setup, "open_tracker", lambda kind, run: Recorder(run))
    flags = trainings.command(data, tmp_path / "model", "--max-epoch", "1", "--save-eval-step", "1")
    run = setup.build(cli.parse(Config, flags), Group(0, 1, torch.device("cpu")), trainings.NoStop())
    assert train(run)
    run.curves.close(True)
    board = {name.partition("/")[2]: points for name, points in trainings.curves(tmp_path / "model").items()}
    tracker = run.curves.tracker
    ours = {name: values for name, values in tracker.values.items() if not name.startswith("speed/")}
    assert {"train/loss", "eval/masked_psnr", "eval/0", "epoch/train_loss"} <= ours.keys() <= board.keys()
    assert not {name for name in board if name.startswith(("train/", "rates/", "eval/", "epoch/"))} - ours.keys()
    for name, values in ours.items():
        assert [step for step, _ in values] == [step for step, _ in board[name]]
        if not isinstance(values[0][1], np.ndarray):
            assert [value for _, value in values] == pytest.approx([value for _, value in board[name]], rel=1e-6)
    assert tracker.finished and tracker.run.settings["tile"] == 64
    assert tracker.run.settings["data_fingerprint"] == run.data.description["fingerprint"]
