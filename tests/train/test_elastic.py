import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from tests.support.shards import make_data
from tests.support.training import trainings
from tests.support.training.here import run_here
from tests.support.training.trainings import one_thread  # noqa: F401
from train import loop, step
from train.data.augment import to_device_batch
from train.evaluation.evaluate import trim
from train.optimizers.optim import StepOutcome

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("elastic") / "data", records=6, evaluation=3, size=72)


@pytest.fixture
def run(data, tmp_path, monkeypatch):
    """A run of one process in this one, about to take its first step."""
    with run_here(data, tmp_path, monkeypatch, "--backward-step", "4", "--clip-grad-norm", "1") as run:
        yield run


def flags(data, folder, *more):
    return trainings.command(data, folder, "--num-samples", "96", "--backward-step", "4", "--max-epoch", "3", *more)


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """The folder of a run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    trainings.train(folder, *flags(data, folder))
    return folder


def assert_alike(folder, other):
    """The same sequences in the same steps, and every number within 1e-5 of itself."""
    saved, expected = (trainings.checkpoint(f)["backfill"]["place"] for f in (folder, other))
    assert saved["digest"] == expected["digest"] and saved["step"] == expected["step"]
    points, reference = trainings.curves(folder), trainings.curves(other)
    assert points.keys() == reference.keys() and len(reference["steps/train/loss"]) == 4
    for tag, series in reference.items():
        if tag.split("/")[1] in ("train", "epoch", "rates") or tag.startswith("epochs/eval/loss"):
            assert [step for step, _ in points[tag]] == [step for step, _ in series]
            assert [value for _, value in points[tag]] == pytest.approx([value for _, value in series], rel=1e-5)


@pytest.mark.parametrize("world", [2, 3, 4])
def test_any_number_of_processes_takes_the_same_steps(world, data, alone, tmp_path):
    trainings.train(tmp_path, *flags(data, tmp_path), world=world)
    assert_alike(tmp_path, alone)


def test_a_run_goes_on_with_another_number_of_processes(data, alone, tmp_path):
    hook = ["signal at", "train.step.forward_backward", 3, signal.SIGTERM]
    for world, hooks in ((2, [hook]), (3, [hook]), (1, [])):
        trainings.train(tmp_path, *flags(data, tmp_path, "--resume"), world=world, hooks=hooks)
    log = (tmp_path / "0.log").read_text()
    assert log.count("stopped by SIGTERM") == 2 and log.count("resumed in epoch") == 2
    assert_alike(tmp_path, alone)


def test_the_gradient_of_a_step_is_that_of_one_large_batch(run, monkeypatch):
    seen = list(run.data.stream.samples(loop.slots_to_do(run, 4)))
    unchanged = StepOutcome(torch.tensor(0.0), stepped=False, healthy=True)
    monkeypatch.setattr(step, "update", lambda *_: unchanged)
    step.step(run, iter(seen))
    summed = {name: weight.grad.clone() for name, weight in run.learner.network.named_parameters()}
    run.learner.network.zero_grad()
    losses = []
    for sample in seen:
        gen = step.generator(run.position.seed, 1, sample.slot.index, "loss")
        frames, holes = (part[0] for part in to_device_batch([sample], "cpu"))
        output = run.learner.network(*run.learner.network.preprocess(frames, holes))
        pair = step.diff_aug(output, trim(frames), trim(holes), gen)
        losses.append(sum(run.learner.criterion(*pair, gen).values()))
    torch.stack(losses).mean().backward()
    assert len(losses) == 4
    for name, weight in run.learner.network.named_parameters():
        assert torch.allclose(summed[name], weight.grad, rtol=1e-4, atol=1e-8), name


@pytest.mark.parametrize("rank", [0, 1])
def test_a_step_that_is_not_finite_on_one_process_is_skipped_on_all(rank, data, tmp_path):
    """Slots 2 and 3 are the second ones of the two processes."""
    more = ("--num-samples", "48", "--max-epoch", "2", "--no-disable-backup")
    one, two = tmp_path / "one", tmp_path / "two"
    trainings.train(
        one,
        *trainings.command(data, one, *more),
        hooks=[["return nan at", "train.objectives.loss.Loss.weighted", [3 + rank]]],
    )
    hooks = [["return nan at", "train.objectives.loss.Loss.weighted", [2]]]
    job = trainings.train(two, *trainings.command(data, two, *more), world=2, hooks=hooks, hooked=[rank])
    assert "step 2: loss or gradient is not finite, step skipped (1 in this epoch)" in job.log()
    assert trainings.results(one) == trainings.results(two)
    assert all(torch.isfinite(weight).all() for weight in trainings.checkpoint(two)["state_dict"].values())
    assert len(trainings.checkpoint(two)["backfill"]["mining"]["seen"]) <= 2  # the step before


def test_a_hundred_skipped_steps_of_an_epoch_are_borne_and_then_the_run_ends(run):
    for _ in range(100):
        step.count_skipped(run, "loss")
    with pytest.raises(
        ValueError, match=r"not finite in 101 steps of epoch 1: continue.*--resume and a lower --learning-rate"
    ):
        step.count_skipped(run, "loss")


def test_without_ignore_nan_the_first_one_ends_the_run(data, tmp_path):
    hooks = [["return nan at", "train.objectives.loss.Loss.weighted", [3]]]
    job = trainings.start(tmp_path, *trainings.command(data, tmp_path, "--no-ignore-nan"), hooks=hooks)
    assert job.wait() == [2]
    assert job.log().splitlines()[-1].startswith("error: loss or gradient was not finite in 1 step of epoch 1")


@pytest.mark.parametrize(
    ("gradient", "finite", "healthy"), [(0.1, True, True), (float("inf"), True, True), (0.1, False, False)]
)
def test_an_overflow_of_fp16_is_no_fault_but_a_loss_that_is_not_finite_is(run, gradient, finite, healthy):
    run.learner.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    run.learner.scaler.scale(torch.zeros(()))  # makes its scale
    for weight in run.learner.network.parameters():
        weight.grad = torch.full_like(weight, gradient)
    before = {name: weight.clone() for name, weight in run.learner.network.named_parameters()}
    assert step.update(run.learner, run.job.config, finite).healthy == healthy
    assert run.learner.scaler.get_scale() == (512 if gradient == float("inf") else 1024)
    changed = [name for name, weight in run.learner.network.named_parameters() if not torch.equal(weight, before[name])]
    assert bool(changed) == (gradient < 1 and healthy)


def test_a_worker_that_dies_is_restarted_by_torchrun_and_the_run_recovers(data, tmp_path):
    folder = tmp_path / "model"
    hooks = json.dumps([["signal at", "train.step.forward_backward", 3, signal.SIGKILL]])
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "2"]
    command += ["--standalone", trainings.__file__, str(tmp_path), hooks]
    options = [*flags(data, folder, "--resume"), "--save-every-steps", "1"]
    done = subprocess.run(
        [*command, *options], env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "0.log").read_text()
    assert "nothing to resume" in log and "resumed in epoch 1 after 4 sequences" in log and "done:" in log
    assert "Traceback" not in log + (tmp_path / "1.log").read_text()
    trainings.train(tmp_path / "two", *flags(data, tmp_path / "two"), world=2)
    assert trainings.results(folder) == trainings.results(tmp_path / "two")
