"""What a run writes: the checkpoint to resume from, and networks to use."""

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
    """Write the checkpoint, whole, after the curves up to it are on disk. Raises UserError when the disk is full."""

    def write() -> None:
        try:
            curves.flush()
            if position.step:  # a checkpoint from before the first step is another run's
                rotate(job.folder, learner.name, job.config.keep_checkpoints)
            write_checkpoint(checkpoint_path(job.folder, learner.name), payload)
        except OSError as error:
            raise UserError(
                f"the checkpoint could not be written to {job.folder} ({error.strerror or error}), the previous one is "
                f"unchanged: free some space and continue with --resume"
            ) from error

    payload = checkpoint_payload(job, learner, data, position)
    job.group.first(write)


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
