"""What a run writes: the checkpoint to resume from, and networks to use."""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import describe, save_network, write_checkpoint
from tools.cli import UserError
from train.checkpoints.lineage import lineage
from train.checkpoints.state import Position, as_payload, checkpoint_path, rotate
from train.data.dataset import TrainingData
from train.objectives.learner import Learner
from train.optimizers.optim import averaged, is_schedule_free
from train.runtime.job import Job
from train.runtime.log import Curves


def save_checkpoint(job: Job, learner: Learner, data: TrainingData, position: Position, curves: Curves | None) -> None:
    """Begin to write the checkpoint, from a copy, after the curves up to it are on disk: see `Job.finish_writing`.

    It waits for the checkpoint before, so that there is one copy at a time. Raises UserError when the disk is full.
    """

    def start() -> None:
        job.writer.finish()
        with explain_disk_error(job.folder):
            curves.flush()
        payload = copied(checkpoint_payload(job, learner, data, position))
        keep = job.config.keep_checkpoints if position.step else 0  # one from before the first step is another run's
        job.writer.start(lambda: write_newest(job.folder, learner.name, payload, keep))

    job.group.first(start)


def write_newest(folder: Path, name: str, payload: dict, keep: int) -> None:
    """Write the newest checkpoint, whole; of those before it, `keep` minus one stay, and all when it is 0."""
    with explain_disk_error(folder):
        if keep:
            rotate(folder, name, keep)
        write_checkpoint(checkpoint_path(folder, name), payload)


@contextlib.contextmanager
def explain_disk_error(folder: Path) -> Iterator[None]:
    """Inside the block an error of the disk becomes a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the checkpoint could not be written to {folder} ({error.strerror or error}), the previous one is "
            f"unchanged: free some space and continue with --resume"
        ) from error


def copied(value: Any) -> Any:
    """The value with its tensors copied to the CPU, so that training goes on while it is written."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        own = copy.copy(value)  # of the same kind
        for name in own:
            own[name] = copied(own[name])
        return own
    return type(value)(map(copied, value)) if type(value) in (list, tuple) else value


def checkpoint_payload(job: Job, learner: Learner, data: TrainingData, position: Position) -> dict:
    """All that a run resumes from, in the layout of iw3's resume file."""
    parts = [part for part in (learner, learner.gan) if part]  # with an optimizer and a scaler each
    settings = asdict(job.config) | {"seed": position.seed, "lineage": lineage(job.config, data, position)}
    return describe(learner.network, settings) | {
        "optimizer_state_dict": [part.optimizer.state_dict() for part in parts],
        "scheduler_state_dict": [],  # rates are a function of the epoch
        "grad_scaler_state_dict": [part.scaler.state_dict() for part in parts],
        "best_loss": position.best_metrics.get("loss", 1e9),  # also when another metric selects the best network
        "last_epoch": position.epoch - 1,
        "backfill": as_payload(
            position,
            data.description,
            mining=data.history.state_dict() if data.history else None,
            ema=learner.ema.state_dict() if learner.ema else None,
            gan=learner.gan.state_dict() if learner.gan else None,
            averages=averages(learner),
        ),
    }


def averages(learner: Learner) -> dict[str, torch.Tensor] | None:
    """The averaged weights of a schedule-free optimizer, which --reset-state starts from."""
    if not is_schedule_free(learner.optimizer):
        return None
    with averaged(learner.optimizer, learner.network):
        return {name: weight.detach().cpu().clone() for name, weight in learner.network.state_dict().items()}


def save_best(job: Job, learner: Learner, run_id: str, about: dict[str, Any]) -> None:
    """Write the file that iw3 loads, a copy under this run's name, and with --ema-model the raw weights."""
    write_networks(job, learner, job.folder, about)
    if not job.config.disable_backup:
        with learner.evaluated_weights():
            write_network(job, learner, job.folder / f"{learner.name}.{run_id}.pth.bk", about)


def write_networks(job: Job, learner: Learner, folder: Path, about: dict[str, Any]) -> None:
    """Write the network that is evaluated and, with --ema-model, its raw weights beside it; `about` is its lineage."""
    with learner.evaluated_weights():
        write_network(job, learner, folder / f"{learner.name}.pth", about)
    if learner.ema:
        write_network(job, learner, folder / f"{learner.name}.raw.pth", about)


def write_network(job: Job, learner: Learner, path: Path, about: dict[str, Any]) -> None:
    """Write the network with its present weights; the first process alone writes."""

    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_network(path, learner.network, asdict(job.config) | {"lineage": about})

    job.group.first(write)
