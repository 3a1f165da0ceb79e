import random
import signal

import pytest

from tests.pack.shards.test_faults import flip
from tests.support.shards import make_data
from tests.support.training import trainings

pytestmark = pytest.mark.slow

CASES = {"adamw": ("--optimizer", "adamw", "--ema-model"), "schedulefree": ("--optimizer", "adamw_schedulefree")}


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A small dataset in which one record is damaged."""
    folder = make_data(tmp_path_factory.mktemp("resume") / "data", records=6, evaluation=3, size=80)
    flip(folder / "train", record=1, at=0.5)
    return folder


@pytest.fixture(scope="session")
def untouched(tmp_path_factory, data):
    """What one process leaves that was never stopped, by case."""

    def run(case):
        folder = tmp_path_factory.mktemp(case)
        trainings.train(folder, *trainings.command(data, folder, *CASES[case]))
        return trainings.results(folder)

    return {case: run(case) for case in CASES}


def random_moments(seed):
    """Where a run is killed, without end: before a call of what changes files, anywhere in a function, at any time."""
    rng = random.Random(seed)
    while True:
        call = rng.choice(["replace", "link", "fsync", "open"])
        yield ["signal at", f"os.{call}", rng.randint(1, 6), signal.SIGKILL]
        yield ["kill inside", "train.loop.train", rng.randint(1, 150_000)]
        yield ["signal at", "train.evaluation.evaluate.measure", 1, signal.SIGKILL]
        yield ["kill inside", "train.loop.save", rng.randint(1, 30_000)]
        yield ["kill inside", "train.checkpoints.save.write_newest", rng.randint(1, 60_000)]
        yield ["kill inside", "train.loop.evaluate_epoch", rng.randint(1, 80_000)]
        yield ["kill after", "train.loop.train", rng.uniform(0, 1)]


def live(folder, flags, world, moments):
    """Start a run and resume it each time it is killed, until it ends or there are no more moments: kills."""
    kills = 0
    for moment in moments:
        rank = 0 if moment[1].startswith("os.") else kills % world  # the first one alone writes
        job = trainings.start(folder, *flags, "--resume", world=world, hooks=[moment], hooked=[rank])
        status = job.wait()[rank]
        if status == 0:
            return kills
        assert status == -signal.SIGKILL, (moment, status, job.log(rank))
        kills += 1
    trainings.train(folder, *flags, "--resume", world=world)
    return kills


@pytest.mark.parametrize(
    ("case", "world", "moments"),
    [
        (
            "adamw",
            1,
            [
                ["kill inside", "train.loop.save", 3_000],
                ["signal at", "os.replace", 5, signal.SIGKILL],
                ["kill inside", "train.loop.evaluate_epoch", 50_000],
                ["kill inside", "train.loop.step", 40_000],
            ],
        ),
        (
            "schedulefree",
            2,
            [
                ["signal at", "os.link", 2, signal.SIGKILL],
                ["signal at", "train.evaluation.evaluate.measure", 2, signal.SIGKILL],
                ["kill inside", "train.checkpoints.save.write_newest", 30_000],
            ],
        ),
    ],
)
def test_a_run_that_is_killed_and_resumed_ends_to_the_last_bit_as_one_that_never_was(
    case, world, moments, data, untouched, tmp_path
):
    kills = live(tmp_path, trainings.command(data, tmp_path, *CASES[case]), world, moments)
    assert kills == len(moments)
    assert trainings.results(tmp_path) == untouched[case]


def test_a_run_in_bf16_resumes_to_the_last_bit_too(data, tmp_path):
    bf16 = ["always return", "train.optimizers.recipe.has_bf16", True]
    for name, moments in (("whole", [[]]), ("killed", [["signal at", "os.replace", 5, signal.SIGKILL], []])):
        flags = trainings.command(data, tmp_path / name, "--no-disable-amp", "--max-epoch", 2, "--resume")
        for moment in moments:
            job = trainings.start(tmp_path / name, *flags, hooks=[bf16, *([moment] if moment else [])])
            assert job.wait() == [-signal.SIGKILL if moment else 0], job.log()
        assert "1 x cpu in bf16" in job.log()
    assert trainings.results(tmp_path / "killed") == trainings.results(tmp_path / "whole")


STOPS = [  # processes, flags, and where which signal reaches the last process and its workers
    (1, ("--num-workers", "1"), "train.step.forward_backward", 4, signal.SIGTERM),
    (2, (), "train.evaluation.evaluate.measure", 2, signal.SIGUSR1),
    (1, (), "train.loop.save", 1, signal.SIGINT),
    (1, ("--save-every-steps", "1"), "train.checkpoints.save.write_newest", 2, signal.SIGTERM),
    (2, (), "train.build.create_loss", 1, signal.SIGTERM),
]


def test_a_run_that_is_asked_to_stop_saves_where_it_is_ends_with_status_0_and_goes_on_from_there(
    data, untouched, tmp_path
):
    flags = trainings.command(data, tmp_path, *CASES["adamw"], "--resume", "--save-every-steps", "0")
    logs = [""]
    for world, more, path, call, number in STOPS:
        hook = ["signal at", path, call, number]
        job = trainings.start(tmp_path, *flags, *more, world=world, hooks=[hook], hooked=[world - 1])
        assert job.wait() == [0] * world, job.log()
        logs.append(job.log().removeprefix("".join(logs)))
        who = signal.Signals(number).name if world == 1 else "another process"
        assert f"stopped by {who} in epoch" in logs[-1].splitlines()[-1]
        assert "the same command with --resume continues from there" in logs[-1].splitlines()[-1]
    trainings.train(tmp_path, *flags)
    assert ["nothing to resume in" in log for log in logs[1:]] == [True, False, False, False, False]
    assert ["resumed in epoch" in log for log in logs[1:]] == [False, True, True, True, True]
    assert trainings.results(tmp_path) == untouched["adamw"]


def test_a_run_that_is_finished_stays_as_it_is(data, tmp_path):
    flags = trainings.command(data, tmp_path, "--max-epoch", "2", "--resume")
    trainings.train(tmp_path, *flags)
    before = trainings.results(tmp_path), trainings.checkpoint(tmp_path)["updated_at"]
    log = trainings.train(tmp_path, *flags).log()
    assert "the run is complete after 1 epoch: there is nothing left to do" in log
    assert (trainings.results(tmp_path), trainings.checkpoint(tmp_path)["updated_at"]) == before


def test_a_finished_run_goes_on_when_it_is_given_more_epochs(data, tmp_path):
    flags = trainings.command(data, tmp_path, "--scheduler", "step", "--save-every-steps", "0")
    trainings.train(tmp_path / "once", *trainings.command(data, tmp_path / "once", *flags[4:], "--max-epoch", "2"))
    for epochs in ("1", "2"):
        job = trainings.train(
            tmp_path / "twice",
            *trainings.command(data, tmp_path / "twice", *flags[4:], "--max-epoch", epochs, "--resume"),
        )
    assert "changed since the checkpoint: max_epoch: 1 -> 2" in job.log()
    once, twice = trainings.results(tmp_path / "once"), trainings.results(tmp_path / "twice")
    assert once["weights and optimizer"] == twice["weights and optimizer"]


def test_a_run_whose_newest_checkpoint_is_damaged_goes_on_from_the_one_before_to_the_same_end(
    data, untouched, tmp_path
):
    flags = trainings.command(data, tmp_path, *CASES["adamw"], "--resume")
    # SIGTERM: after a kill while a checkpoint is written, both names are of one file, and would be damaged at once
    trainings.train(tmp_path, *flags, hooks=[["signal at", "train.step.forward_backward", 8, signal.SIGTERM]])
    newest = tmp_path / f"{trainings.NAME}.checkpoint.pth"
    newest.write_bytes(newest.read_bytes()[:-1000])
    log = trainings.train(tmp_path, *flags).log()
    assert f"warning: {newest} is not a checkpoint or is truncated" in log
    assert "resuming from inpaint.light_video_inpaint_v1.checkpoint.1.pth, which is older" in log
    assert trainings.results(tmp_path) == untouched["adamw"]
