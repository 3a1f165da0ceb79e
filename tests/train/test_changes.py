"""What a run says, and does, when it is resumed under other circumstances than it was begun."""

import json
import shutil

import pytest
import torch

from model.checkpoint import load_network, read_file, write_checkpoint
from tests.support.shards import make_split
from tests.support.training import trainings
from tests.support.training.trainings import one_thread  # noqa: F401
from tools import cli
from train import build as setup
from train.checkpoints.state import checkpoints
from train.config import Config
from train.loop import train as train_loop
from train.run import save
from train.runtime.dist import Group


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(setup, "create_network", trainings.create_tiny)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("changes") / "data"
    make_split(folder / "train", records=4, first=5, size=72)
    make_split(folder / "eval", records=1, shards=1, first=1000, size=72)
    return folder


def build(data, folder, *flags):
    config = cli.parse(Config, trainings.command(data, folder, *map(str, flags)))
    return setup.build(config, Group(0, 1, torch.device("cpu")), trainings.NoStop())


@pytest.fixture(scope="module")
def begun(tmp_path_factory, data):
    """The folder of a run of one epoch."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup, "create_network", trainings.create_tiny)
        run = build(data, folder, "--max-epoch", 1, "--optimizer", "adamw_schedulefree")
        train_loop(run)
        run.curves.close()
    return folder


@pytest.fixture
def folder(begun, tmp_path):
    return shutil.copytree(begun, tmp_path / "model")


def resume(data, folder, *flags):
    return build(data, folder, "--max-epoch", 3, "--optimizer", "adamw_schedulefree", "--resume", *flags)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--seed", 2), "--seed: 1 -> 2"),
        (("--loss", "hole_l1"), "--loss: temporal_l1 -> hole_l1"),
        (("--backward-step", 4), "--backward-step: 2 -> 4"),
        (("--optimizer", "adamw"), "--optimizer: adamw_schedulefree -> adamw"),
        (("--num-samples", 96), "--num-samples: 48 -> 96"),
        (("--tile", 72), "--tile: 64 -> 72"),
        (("--hard-example", "none"), "--hard-example: linear -> none"),
        (("--augment", "strong"), "--augment: iw3 -> strong"),
        (("--no-diff-aug", "--seed", 3), "--diff-aug: True -> False; --seed: 1 -> 3"),
    ],
)
def test_a_setting_that_decides_what_a_step_computes_is_named_old_and_new(flags, line, data, folder):
    with pytest.raises(ValueError) as caught:
        resume(data, folder, *flags)
    assert f"({line})" in str(caught.value)
    assert str(caught.value).endswith("restore the flags, or start from its weights with --reset-state")


def test_a_checkpoint_from_before_a_setting_has_its_default(data, folder):
    newest = next(folder.glob("*.checkpoint.pth"))
    saved = read_file(newest)
    del saved["train_kwargs"]["augment"]
    write_checkpoint(newest, saved)
    assert resume(data, folder).position.epoch == 2
    with pytest.raises(ValueError, match=r"\(--augment: iw3 -> strong\)"):
        resume(data, folder, "--augment", "strong")


def test_another_network_in_the_folder_is_named_old_and_new(data, folder, monkeypatch):
    monkeypatch.setattr(setup, "network_name", lambda _: "inpaint.light_video_inpaint_v1_medium")
    with pytest.raises(
        ValueError, match=r"--arch: inpaint.light_video_inpaint_v1 -> inpaint.light_video_inpaint_v1_medium"
    ):
        resume(data, folder)


def test_weights_of_another_size_are_told_with_both(data, folder, monkeypatch):
    monkeypatch.setattr(setup, "create_network", lambda *a: trainings.LightVideoInpaint(base_dim=8))
    with pytest.raises(ValueError, match=r"base_dim': 4.*expected.*base_dim': 8.*restore --arch"):
        resume(data, folder)


def test_the_alias_of_a_network_is_no_change(data, folder):
    assert resume(data, folder, "--arch", "inpaint.light_video_inpaint_v1_small").position.epoch == 2


def test_what_may_change_is_told_and_takes_effect(data, folder, capsys):
    run = resume(data, folder, "--learning-rate", 0.0025, "--adam-beta1", 0.8, "--weight-decay", 0.5, "--eval-step", 2)
    said = capsys.readouterr().out
    assert "changed since the checkpoint: learning_rate: 0.0001 -> 0.0025" in said
    assert "changed since the checkpoint: eval_step: 1 -> 2" in said
    groups = run.learner.optimizer.param_groups
    assert [group["lr"] for group in groups] == [0.0025, 0.0025]
    assert [group["betas"] for group in groups] == [(0.8, 0.999)] * 2
    assert [group["weight_decay"] for group in groups] == [0.5, 0]
    assert groups[0]["k"] == 2  # steps that the optimizer remembers


def test_nothing_that_changed_is_nothing_said(data, folder, capsys):
    resume(data, folder, "--max-epoch", 1)
    assert "changed" not in capsys.readouterr().out


def test_a_moved_dataset_is_the_same_dataset(data, folder, tmp_path):
    assert resume(shutil.copytree(data, tmp_path / "moved"), folder).position.epoch == 2


def test_another_dataset_is_named_old_and_new_with_the_flag_that_takes_it(data, folder, tmp_path):
    other = shutil.copytree(data, tmp_path / "other")
    make_split(other / "train", records=3, shards=1, first=40, size=72)
    with pytest.raises(
        ValueError,
        match=r"training data: 2 shards with 4 records \(\w+\) -> 3 shards with 7 records \(\w+\), --accept-data",
    ):
        resume(other, folder)


def test_added_shards_are_one_flag_and_known_records_keep_their_losses(data, folder, tmp_path):
    before = resume(data, folder)
    more = shutil.copytree(data, tmp_path / "more")
    make_split(more / "train", records=3, shards=1, first=40, size=72)  # sorts before the others
    run = resume(more, folder, "--accept-data")
    assert run.data.plan.count == 7 and run.position.epoch == 2
    by_key = {
        before.data.stream.source.records[n][1].key: loss for n, loss in enumerate(before.data.history.averages())
    }
    for number, loss in enumerate(run.data.history.averages()):
        key = run.data.stream.source.records[number][1].key
        assert loss == by_key.get(key, float("inf"))
    assert train_loop(run)
    run.curves.close()
    again = resume(more, folder)  # the checkpoint is of the new dataset now
    assert again.position.epoch == 4


def test_shards_added_in_the_middle_of_an_epoch_serve_the_slots_that_are_left(data, tmp_path):
    run = build(data, tmp_path / "m")
    run.position.slots_done, run.position.step = 2, 1
    run.position.losses = [(0, 0.5), (3, 0.25)]
    save(run)
    more = shutil.copytree(data, tmp_path / "more")
    make_split(more / "train", records=2, shards=1, first=40, size=72)
    later = build(more, tmp_path / "m", "--resume", "--accept-data")
    assert (later.position.epoch, later.position.slots_done) == (1, 2)
    assert later.position.losses == [(2, 0.5), (5, 0.25)]


def test_other_records_for_evaluation_make_the_next_one_the_best(data, folder, tmp_path, capsys):
    other = shutil.copytree(data, tmp_path / "other")
    make_split(other / "eval", records=1, shards=1, first=2000, size=72)
    run = resume(other, folder)
    assert run.position.best is None
    assert (
        "the records for evaluation have changed: the next evaluation counts as the best so far"
        in capsys.readouterr().out
    )


def test_reset_state_starts_anew_from_the_averaged_weights(data, folder):
    saved = trainings.checkpoint(folder)
    run = build(data, folder, "--resume", "--reset-state", "--loss", "hole_l1", "--seed", 9)
    weights = run.learner.network.state_dict()
    assert all(torch.equal(weights[name], saved["backfill"]["averages"][name]) for name in weights)
    assert not all(torch.equal(weights[name], saved["state_dict"][name]) for name in weights)
    assert (run.position.epoch, run.position.step, run.position.seed) == (1, 0, 9)
    assert not run.learner.optimizer.state
    (kept,) = folder.glob(f"{trainings.NAME}.checkpoint.pth.*.bk")
    assert read_file(kept)["backfill"]["place"]["step"] == saved["backfill"]["place"]["step"]
    (newest,) = checkpoints(folder, trainings.NAME)  # none of another run is left to fall back to
    assert read_file(newest)["backfill"]["place"]["step"] == 0


def test_a_checkpoint_of_averaged_weights_starts_the_same_network_by_reset_state_and_as_a_file(
    data, folder, tmp_path, capsys
):
    path = tmp_path / "earlier.pth"
    path.write_bytes((folder / f"{trainings.NAME}.checkpoint.pth").read_bytes())
    averages = read_file(path)["backfill"]["averages"]
    reset = build(data, folder, "--resume", "--reset-state").learner.network.state_dict()
    assert f"starts from the checkpoint in {folder}, its averaged weights" in capsys.readouterr().out
    started = build(data, tmp_path / "m", "--checkpoint-file", path).learner.network.state_dict()
    assert f"starts from {path}, its averaged weights" in capsys.readouterr().out
    for weights in (reset, started, load_network(path).state_dict()):
        assert all(torch.equal(weights[name], averages[name]) for name in averages)


def test_forgetting_resume_does_not_cost_the_checkpoint(data, folder, capsys):
    steps = trainings.checkpoint(folder)["backfill"]["place"]["step"]
    build(data, folder)
    assert trainings.checkpoint(folder)["backfill"]["place"]["step"] == 0
    (kept,) = folder.glob(f"{trainings.NAME}.checkpoint.pth.*.bk")
    assert read_file(kept)["backfill"]["place"]["step"] == steps
    assert f"the checkpoint of an earlier run is kept as {kept}" in capsys.readouterr().out


def test_a_run_killed_before_its_first_epoch_ends_goes_on_as_the_same_run(data, tmp_path):
    begun = build(data, tmp_path / "m", "--seed=-1")
    later = build(data, tmp_path / "m", "--seed=-1", "--resume")
    assert (later.position.seed, later.position.run_id) == (begun.position.seed, begun.position.run_id)
    assert trainings.sha256(later.learner.network.state_dict()) == trainings.sha256(begun.learner.network.state_dict())


def test_a_checkpoint_of_iw3_gives_its_weights_when_asked_for_them_alone(data, folder):
    path = folder / f"{trainings.NAME}.checkpoint.pth"
    saved = read_file(path)
    del saved["backfill"]
    write_checkpoint(path, saved)
    with pytest.raises(ValueError, match="is iw3's: load its weights with --resume --reset-state"):
        resume(data, folder)
    weights = resume(data, folder, "--reset-state").learner.network.state_dict()
    assert all(torch.equal(weights[name], saved["state_dict"][name]) for name in weights)


def test_a_checkpoint_of_another_version_is_told(data, folder):
    path = folder / f"{trainings.NAME}.checkpoint.pth"
    saved = read_file(path)
    saved["backfill"]["version"] = 99
    write_checkpoint(path, saved)
    with pytest.raises(ValueError, match="has version 99, expected 1: continue with the Backfill that wrote it"):
        resume(data, folder)


def test_a_quarantine_that_is_not_ours_is_told(data, folder):
    (folder / "quarantine.jsonl").write_text(json.dumps({"key": "a"}) + "\n")
    with pytest.raises(ValueError, match=r"quarantine.jsonl is not a list of bad records.*remove it"):
        resume(data, folder)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda d: shutil.rmtree(d / "eval"), "eval"),
        (lambda d: [p.unlink() for p in (d / "train").glob("*.json")], "train"),
        (lambda d: min((d / "train").glob("*.tar")).unlink(), r"s5-00.tar is missing: copy it again"),
        (lambda d: min((d / "train").glob("*.tar")).write_bytes(b""), r"s5-00.tar: found 0 bytes"),
    ],
)
def test_a_dataset_that_cannot_be_used_is_told_before_any_work(prepare, message, data, tmp_path):
    broken = shutil.copytree(data, tmp_path / "broken")
    prepare(broken)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build(broken, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_model_folder_that_cannot_be_written_is_told_before_any_work(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        build(data, tmp_path / "file" / "model")


def test_processes_without_a_sequence_of_a_step_are_told(data, tmp_path):
    config = cli.parse(Config, trainings.command(data, tmp_path))
    with pytest.raises(
        ValueError,
        match=r"--backward-step 2 counts sequences over all processes, found 3 processes: pass 3 or more in a new run",
    ):
        setup.build(config, Group(0, 3, torch.device("cpu")), trainings.NoStop())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"not weights"), "is not a checkpoint or is truncated"),
        (
            lambda path: write_checkpoint(path, {"state_dict": {}}),
            "holds None None, expected inpaint.light_video_inpaint_v1",
        ),
        (lambda path: None, "no such file"),
    ],
)
def test_weights_to_start_from_that_cannot_be_used_are_told(make, message, data, tmp_path):
    make(tmp_path / "weights.pth")
    with pytest.raises((ValueError, OSError), match=message):
        build(data, tmp_path / "m", "--checkpoint-file", tmp_path / "weights.pth")


def test_weights_to_start_from_are_those_of_the_file_on_any_kind_of_checkpoint(data, begun, tmp_path):
    run = build(data, tmp_path, "--checkpoint-file", begun / f"{trainings.NAME}.pth")
    assert trainings.sha256(run.learner.network.state_dict()) == trainings.sha256(
        dict(read_file(begun / f"{trainings.NAME}.pth")["state_dict"])
    )
    assert run.position.step == 0


def test_the_configuration_in_the_model_folder_starts_the_same_run(data, folder):
    config = cli.parse(Config, ["--config", str(folder / "config.toml")])
    saved = read_file(checkpoints(folder, trainings.NAME)[0])["train_kwargs"]
    assert saved.pop("lineage")
    assert config == Config(**{**saved, "learning_rate_decay_step": tuple(saved["learning_rate_decay_step"])})
