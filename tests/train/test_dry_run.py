import json
import signal

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

from tests.pack.shards.test_faults import flip
from tests.support.shards import make_data
from tests.support.training import trainings
from train.dry_run import Costs, step_seconds, workers_needed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("trial") / "data", records=6, evaluation=2, size=80)


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_dry_run_says_what_the_run_would_need_and_leaves_no_trace(tmp_path):
    data, model = make_data(tmp_path / "data", records=6, evaluation=2, size=80), tmp_path / "model"
    flip(data / "train", record=1, at=0.5)
    before = files(data)
    flags = trainings.command(data, model, "--dry-run", "--ema-model", "--num-samples", 144, "--backward-step", 12)
    job = trainings.train(tmp_path / "log", *flags, world=2)
    assert not model.exists() and files(data) == before
    said = job.log()
    assert "is not used" in said  # the bad record was met
    for text in (
        "dry run: a step of 12 sequences takes ",
        "memory: ",
        "batch: a pass needs ",
        "--batch-size 6 is the largest that fits of the 6 sequences of a process, this run has 1",
        "data: a sample takes ",
        "--num-workers",
        "evaluation: ",
        " for 2 records, 3 times",
        "whole run: 3 steps, ",
    ):
        assert text in said, said


def test_a_dry_run_of_what_goes_on_touches_no_checkpoint(data, tmp_path):
    trainings.train(tmp_path, *trainings.command(data, tmp_path, "--max-epoch", 2))
    (tmp_path / "0.log").unlink()
    before = files(tmp_path)
    job = trainings.train(
        tmp_path / "log", *trainings.command(data, tmp_path, "--max-epoch", 4, "--resume", "--dry-run"), world=1
    )
    said = job.log()
    assert "resumed in epoch 2" in said and "whole run: 4 steps" in said
    (tmp_path / "log" / "0.log").unlink()
    assert files(tmp_path) == before
    trainings.train(tmp_path / "log", *trainings.command(data, tmp_path, "--max-epoch", 4, "--resume"))
    loss = dict(trainings.curves(tmp_path)["steps/train/loss"])[3]
    assert f"its loss is {loss:.4f}" in said


def test_workers_are_as_many_as_make_a_steps_samples_during_a_step():
    costs = Costs(sample=0.5, step=1.0, record=0.0)
    assert [workers_needed(costs, samples) for samples in (1, 2, 3, 8)] == [1, 1, 2, 4]
    for samples in (2, 3, 8):
        assert step_seconds(costs, samples, workers_needed(costs, samples)) < 1.011
        assert step_seconds(costs, samples, 1) == max(1.0, 0.5 * samples)
        assert step_seconds(costs, samples, 0) == 1 + 0.5 * samples


def test_a_profile_shows_the_steps_asked_for_and_changes_no_result(data, tmp_path):
    plain, profiled = tmp_path / "plain", tmp_path / "profiled"
    trainings.train(plain, *trainings.command(data, plain))
    job = trainings.train(profiled, *trainings.command(data, profiled, "--profile", 2))
    (path,) = (profiled / "logs").glob("*/*.pt.trace.json")
    assert str(path) in job.log()
    events = json.loads(path.read_text())["traceEvents"]
    assert {e["name"] for e in events if e["name"].startswith("ProfilerStep")} == {"ProfilerStep#2", "ProfilerStep#3"}
    assert any("conv" in e["name"] for e in events)
    path.unlink()
    assert trainings.results(profiled) == trainings.results(plain)


def test_the_hparams_tab_gets_settings_and_results_of_a_run_without_further_runs(data, tmp_path):
    trainings.train(
        tmp_path, *trainings.command(data, tmp_path, "--max-epoch", 2, "--weight-decay", 0.25, "--eval-metric", "psnr")
    )
    folders = sorted(path.name for path in (tmp_path / "logs").glob("*/*") if path.is_dir())
    assert folders == ["epochs", "steps"]
    reader = EventAccumulator(str(next((tmp_path / "logs").glob("*/epochs"))))
    reader.Reload()
    content = reader.PluginTagToContent("hparams")
    session = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/session_start_info"])
    assert session.session_start_info.hparams["weight_decay"].number_value == 0.25
    assert session.session_start_info.hparams["optimizer"].string_value == "adamw"
    assert session.session_start_info.hparams["ema_model"].string_value == "False"
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/experiment"]).experiment
    shown = {info.name.tag for info in experiment.metric_infos}
    assert shown <= set(reader.Tags()["scalars"])
    assert {"eval/loss", "eval/masked_psnr", "eval/masked_ssim", "eval/psnr", "epoch/train_loss"} <= shown


def status(folder):
    """How the session in the HParams tab has ended, if it has."""
    reader = EventAccumulator(str(next((folder / "logs").glob("*/epochs"))))
    reader.Reload()
    content = reader.PluginTagToContent("hparams").get("_hparams_/session_end_info")
    ended = content and plugin_data_pb2.HParamsPluginData.FromString(content).session_end_info
    return ended and api_pb2.Status.Name(ended.status)


def test_the_hparams_tab_shows_a_run_as_finished_when_it_is_and_not_before(data, tmp_path):
    flags = trainings.command(data, tmp_path, "--max-epoch", 2, "--resume")
    trainings.train(tmp_path, *flags, hooks=[["signal at", "train.step.forward_backward", 3, signal.SIGTERM]])
    assert status(tmp_path) is None
    trainings.train(tmp_path, *flags)
    assert status(tmp_path) == "STATUS_SUCCESS"
