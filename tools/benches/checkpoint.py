"""The pause of training for a checkpoint: from a copy and a thread, against writing it at once."""

import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import torch

from model.checkpoint import read_file, write_checkpoint
from tools import cli
from tools.benches.case import Case, Gauge, Goal, Workplace
from train.build import build
from train.checkpoints.save import checkpoint_payload
from train.checkpoints.state import checkpoint_path
from train.config import Config
from train.run import Run, save
from train.runtime.dist import Group
from train.runtime.signals import Stop

TURNS = 5  # of each way, in a round


def prepare(place: Workplace) -> Gauge:
    """The pause of a save beside training, relative to that of a save that waits for the disk."""
    run = trained(place)
    path = checkpoint_path(run.job.folder, run.learner.name)
    notes: dict[str, str] = {"network": run.job.config.arch}

    def check() -> None:
        from tests.support.training.trainings import sha256

        save(run)
        saved, expected = read_file(path), payload(run)
        assert all(sha256(saved[name]) == sha256(expected[name]) for name in expected if name != "updated_at")

    def measure() -> float:
        beside, waiting = [], []
        for _ in range(1 if place.tiny else TURNS):
            beside.append(seconds(lambda: save(run, wait=False)))
            run.job.finish_writing()
            waiting.append(seconds(lambda: write_checkpoint(path, payload(run))))
        found = [statistics.median(times) for times in (beside, waiting)]
        sizes = {"checkpoint": f"{path.stat().st_size / 1e6:.0f} MB"}
        names = ("pause beside training", "pause without")
        notes.update(sizes | {name: f"{1000 * second:.0f} ms" for name, second in zip(names, found, strict=True)})
        return 100 * found[0] / found[1]

    return Gauge(measure, check, notes=notes)


def trained(place: Workplace) -> Run:
    """A run on the CPU whose optimizer has its states."""
    from tests.support.shards import make_data  # small records of the tests, which other cases do not need

    data, folder = place.folder / "checkpoint-data", place.folder / "checkpoint-model"
    if not data.exists():
        make_data(data, records=4, evaluation=1, size=72)
    arch = "inpaint.light_video_inpaint_v1" + ("" if place.tiny else "_large")
    words = ["-i", str(data), "--model-dir", str(folder), "--arch", arch, "--tile", "64", "--loss", "temporal_l1"]
    config = cli.parse(Config, [*words, "--ema-model", "--num-workers", "0", "--keep-checkpoints", "1"])
    run = build(config, Group(0, 1, torch.device("cpu")), cast(Stop, SimpleNamespace(name="")))
    place.stack.callback(run.curves.close)
    for weight in run.learner.network.parameters():
        weight.grad = torch.ones_like(weight)
    run.learner.optimizer.step()
    run.learner.ema.update()
    return run


def payload(run: Run) -> dict:
    return checkpoint_payload(run.job, run.learner, run.data, run.position)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


CASES = (
    Case(
        "checkpoint-pause",
        "pause of training for a checkpoint that is written beside it, relative to one that is written at once",
        Goal(25, "%", at_most=True),
        prepare,
        3,
    ),
)
