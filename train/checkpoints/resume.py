"""Resumes from a checkpoint: finds it, checks that the settings match, and restores its state."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tools.cli import UserError
from train.checkpoints.fits import check_states
from train.checkpoints.state import VERSION, Position, differences, moved_records, other_networks, read_newest
from train.config import Config
from train.data.dataset import TrainingData
from train.objectives.learner import Learner
from train.runtime.dist import Group

HYPERPARAMETERS = ("lr", "betas", "eps", "momentum", "weight_decay", "warmup_steps")  # of an optimizer's groups


def find_checkpoint(config: Config, group: Group, folder: Path, name: str, data: dict) -> dict[str, Any] | None:
    """The checkpoint to resume from, read by the first process for all; None without --resume or if there is none."""
    if not config.resume:
        return None
    saved, warnings = group.first(read_newest, folder, name)
    for warning in warnings:
        group.log(f"warning: {warning}")
    if saved is None:
        others = group.first(other_networks, folder, name)
        if others:
            raise UserError(
                f"the checkpoint in {folder} is of another network (--arch: {', '.join(others)} -> {name}): "
                f"restore the flag, pass another --model-dir, or start a new run without --resume"
            )
        group.log(f"nothing to resume in {folder}: starting a new run")
    elif is_continued(config, saved):
        check_checkpoint(saved, config, folder, data)
    return saved


def check_checkpoint(saved: dict[str, Any], config: Config, folder: Path, data: dict) -> None:
    """Raise UserError when the run cannot resume from the checkpoint with these settings."""
    ours = saved.get("backfill")
    if ours is None:
        raise UserError(f"the checkpoint in {folder} is iw3's: load its weights with --resume --reset-state")
    if ours["version"] != VERSION:
        raise UserError(
            f"the checkpoint in {folder} has version {ours['version']}, expected {VERSION}: continue with the "
            f"Backfill that wrote it, or load its weights with --reset-state"
        )
    found = differences(saved, config, data)
    if found:
        raise UserError(
            f"the checkpoint in {folder} was made with other settings ({'; '.join(found)}): "
            f"restore the flags, or start from its weights with --reset-state"
        )


def is_continued(config: Config, saved: dict[str, Any] | None) -> bool:
    """Whether the run continues from the checkpoint, instead of loading its weights only."""
    return saved is not None and not config.reset_state


def restore(config: Config, learner: Learner, data: TrainingData, position: Position, saved: dict[str, Any]) -> None:
    """Restore the checkpoint's state other than the weights and the position.

    Where the dataset has changed (--accept-data), records that are still in it keep the losses known to mining, under
    their new numbers, and the remaining slots of the epoch are drawn from the new dataset. Raises UserError where a
    state does not fit the run.
    """
    ours = saved["backfill"]
    check_states(saved, learner, data.history)
    restore_optimizer(learner.optimizer, saved["optimizer_state_dict"][0])
    restore_scaler(learner.scaler, saved["grad_scaler_state_dict"][0])
    if learner.gan:
        learner.gan.load_state_dict(ours["gan"])
        restore_optimizer(learner.gan.optimizer, saved["optimizer_state_dict"][1])
        restore_scaler(learner.gan.scaler, saved["grad_scaler_state_dict"][1])
    if learner.ema:
        learner.ema.load_state_dict(ours["ema"])
    if data.history:
        mining, before, now = ours["mining"], ours["data"]["shards"], data.description["shards"]
        if before != now:
            moved = moved_records(before, now)
            position.losses = [(int(moved[record]), loss) for record, loss in position.losses if moved[record] >= 0]
            mining = moved_history(mining, moved, data.plan.count)
        data.history.load_state_dict(mining)
    if ours["data"]["eval_fingerprint"] != data.description["eval_fingerprint"]:  # the metrics are not comparable
        position.best, position.best_metrics, position.passed = None, {}, []
    elif position.best_metrics:
        position.best = position.best_metrics[config.eval_metric]


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the state of the optimizer; its hyperparameters stay those of the configuration."""
    ours = [{name: group[name] for name in HYPERPARAMETERS if name in group} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, values in zip(optimizer.param_groups, ours, strict=True):
        group.update(values)


def restore_scaler(scaler: torch.amp.GradScaler, state: dict[str, Any]) -> None:
    if state:  # empty when the run had none
        scaler.load_state_dict(state)


def moved_history(mining: dict[str, Any], moved: np.ndarray, count: int) -> dict[str, Any]:
    """The losses of the records that are still in the dataset, under their new numbers."""
    numbers = torch.from_numpy(moved)[mining["seen"]]
    kept = numbers >= 0
    losses, counts = mining["losses"][:, kept], mining["counts"][kept]
    return {"records": count, "seen": numbers[kept], "losses": losses, "counts": counts}
