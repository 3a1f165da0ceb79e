"""iw3's workflow, command by command, on a tiny dataset."""

import signal
from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch

from model.checkpoint import read_file
from tests.support.shards import make_data
from tests.support.training import trainings
from train.config import Config
from train.optimizers import recipe
from train.optimizers.ema import EMA
from train.optimizers.optim import create_optimizer
from train.optimizers.schedule import schedule
from train.step import update

NAME = trainings.NAME
CYCLES = ("--max-epoch", 6, "--learning-rate-cycles", 2, "--learning-rate", 1e-3, "--eval-step", 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("recipe") / "data", records=6, evaluation=2, size=80)


@pytest.fixture(scope="module")
def first_round(data, tmp_path_factory):
    """A training with restarts that was stopped in its third epoch and resumed."""
    folder = tmp_path_factory.mktemp("round") / "first"
    flags = trainings.command(data, folder, *CYCLES)
    stopped = trainings.train(folder, *flags, hooks=[["signal at", "train.step.forward_backward", 10, signal.SIGTERM]])
    assert "stopped by SIGTERM in epoch 3" in stopped.log()
    resumed = trainings.train(folder, *flags, "--resume")
    assert "done: " in resumed.log()
    return folder


def same(weights, others):
    return weights.keys() == others.keys() and all(torch.equal(value, others[name]) for name, value in weights.items())


def start_weights(folder, *flags):
    """The weights that a training begins with: it is stopped before its first step is complete."""
    trainings.train(folder, *flags, hooks=[["signal at", "train.step.forward_backward", 1, signal.SIGTERM]])
    saved = trainings.checkpoint(folder)
    assert (saved["backfill"]["place"]["epoch"], saved["backfill"]["place"]["step"]) == (1, 0)
    return saved["state_dict"]


@pytest.mark.slow
def test_restarts_end_an_epoch_early_with_the_rates_of_the_schedule(first_round):
    curves = trainings.curves(first_round)
    for tag, number in (("learning_rate", 0), ("weight_decay", 1)):
        found = [value for _, value in curves[f"steps/rates/{tag}"]]
        epochs = [
            schedule("cosine_wd", epoch, max_epoch=6, cycles=2, learning_rate=1e-3, weight_decay=0.001)[number]
            for epoch in range(1, 6)
        ]
        assert found == pytest.approx([value for value in epochs for _ in range(2)])
        assert epochs[3] == epochs[0] != epochs[2]  # the restart
    rows = (next(first_round.glob("loss_*.csv"))).read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["1", "2", "3", "4", "5"]


def test_resuming_what_is_complete_changes_nothing(data, first_round):
    before = trainings.results(first_round)
    job = trainings.train(first_round, *trainings.command(data, first_round, *CYCLES, "--resume"))
    assert "the run is complete after 5 epochs" in job.log()
    assert trainings.results(first_round) == before


@pytest.mark.slow
def test_a_second_round_takes_the_weights_alone_and_keeps_the_first_one_s_checkpoint(data, first_round, tmp_path):
    folder = tmp_path / "second"
    folder.mkdir()
    (folder / f"{NAME}.checkpoint.pth").write_bytes((first_round / f"{NAME}.checkpoint.pth").read_bytes())
    first = trainings.checkpoint(folder)
    flags = trainings.command(data, folder, "--optimizer", "adamw_schedulefree", "--resume")
    refused = trainings.start(tmp_path, *flags)
    assert refused.wait() == [2] and "--optimizer: adamw -> adamw_schedulefree" in refused.log()
    assert same(start_weights(folder, *flags, "--reset-state"), first["state_dict"])
    assert any(
        same(read_file(path)["state_dict"], first["state_dict"]) for path in folder.glob("*.checkpoint.pth.*.bk")
    )
    trainings.train(folder, *flags, "--skip-eval")
    saved, exported = trainings.checkpoint(folder), read_file(folder / f"{NAME}.pth")["state_dict"]
    assert saved["scheduler_state_dict"] == [] and saved["last_epoch"] == 4
    assert same(exported, saved["backfill"]["averages"]) and not same(exported, saved["state_dict"])


def test_a_training_starts_from_a_file_of_iw3(data, first_round, tmp_path):
    best = read_file(first_round / f"{NAME}.pth")
    file = {"nunif_model": 1, "name": NAME, "updated_at": "2025-09-19 00:00:00+00:00", "kwargs": best["kwargs"]}
    file |= {"train_kwargs": None, "state_dict": OrderedDict(best["state_dict"])}
    torch.save(file, tmp_path / "iw3.pth")
    flags = trainings.command(data, tmp_path / "model", "--checkpoint-file", tmp_path / "iw3.pth")
    assert same(start_weights(tmp_path / "model", *flags), best["state_dict"])


@pytest.mark.slow
def test_the_average_of_the_weights_is_exported_beside_the_weights_that_it_is_of(data, tmp_path):
    trainings.train(tmp_path, *trainings.command(data, tmp_path, "--ema-model", "--ema-decay", 0.9, "--skip-eval"))
    saved = trainings.checkpoint(tmp_path)
    average, raw = (read_file(tmp_path / f"{NAME}.{kind}")["state_dict"] for kind in ("pth", "raw.pth"))
    assert same(average, saved["backfill"]["ema"]["weights"])
    assert same(raw, saved["state_dict"]) and not same(raw, average)


@pytest.mark.slow
def test_steps_that_are_not_finite_are_left_out_counted_and_end_a_run_that_allows_none(data, tmp_path):
    hook = ["return nan at", "train.objectives.loss.Loss.weighted", [2, 5]]
    job = trainings.train(tmp_path / "a", *trainings.command(data, tmp_path / "a", "--skip-eval"), hooks=[hook])
    assert job.log().count("loss or gradient is not finite, step skipped") == 2
    assert all(value.isfinite().all() for value in trainings.checkpoint(tmp_path / "a")["state_dict"].values())
    strict = trainings.start(tmp_path / "b", *trainings.command(data, tmp_path / "b", "--no-ignore-nan"), hooks=[hook])
    assert strict.wait() == [2] and "of epoch 1: continue from the last checkpoint with --resume" in strict.log()


@pytest.mark.parametrize(
    ("flags", "on_gpu", "on_cpu"),  # without and with instructions for bf16
    [
        ({}, ("fp16", "bf16"), ("fp32", "bf16")),
        ({"amp_float": "fp16"}, ("fp16", "fp16"), ("fp32", "fp32")),
        ({"amp_float": "bf16"}, ("bf16", "bf16"), ("fp32", "bf16")),
        ({"disable_amp": True}, ("fp32", "fp32"), ("fp32", "fp32")),
    ],
)
def test_the_precision_follows_the_flags_and_what_the_processor_has(flags, on_gpu, on_cpu, monkeypatch):
    config, cpu = Config(**flags), torch.device("cpu")
    for capable, expected_on_gpu, expected in zip((False, True), on_gpu, on_cpu, strict=True):
        monkeypatch.setattr(recipe, "has_bf16", lambda _, capable=capable: capable)
        assert recipe.precision(config, torch.device("cuda")) == expected_on_gpu
        assert recipe.precision(config, cpu) == expected
        assert not recipe.create_scaler(config, cpu).is_enabled()
        with recipe.autocast(config, cpu):
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[expected]


@pytest.mark.slow
def test_a_training_in_bf16_on_a_cpu_learns_what_one_in_fp32_learns(data, tmp_path):
    flags = ("--loss", "temporal_l1", "--max-epoch", 2, "--no-disable-amp", "--skip-eval")
    weights = []
    for name, capable in (("fp32", False), ("bf16", True)):
        hooks = [["always return", "train.optimizers.recipe.has_bf16", capable]]
        job = trainings.train(tmp_path / name, *trainings.command(data, tmp_path / name, *flags), hooks=hooks)
        assert f"1 x cpu in {name}" in job.log()
        weights.append(torch.cat([w.flatten() for w in trainings.checkpoint(tmp_path / name)["state_dict"].values()]))
    apart = (weights[0] - weights[1]).abs().max()
    assert 0 < apart < 1e-3
    assert all(value.isfinite().all() for value in weights)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("bad", ["nan", "inf"])
def test_a_gradient_that_is_not_finite_leaves_weights_optimizer_and_average_alone(scaled, bad):
    network = torch.nn.Linear(3, 2)
    optimizer = create_optimizer("adamw", network, 0.1, 0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, enabled=scaled)  # fp16 needs a GPU, its scaler does not
    ema = EMA(network, decay=0.5)
    learner = SimpleNamespace(optimizer=optimizer, scaler=scaler, network=network, ema=ema)

    def step(factor, finite=True):
        optimizer.zero_grad()
        scaler.scale(network(torch.ones(1, 3)).square().sum() * factor).backward()
        return update(learner, Config(), finite).healthy

    def state():
        return trainings.sha256([network.state_dict(), optimizer.state_dict()["state"], ema.state_dict()])

    assert step(1.0)
    before = state()
    assert step(float(bad)) == scaled  # while fp16 looks for its scale, an overflow is not counted
    assert not step(float(bad), finite=False)
    assert state() == before
    assert scaler.get_scale() == (2.0 if scaled else 1.0)
    assert step(1.0)
    assert state() != before
