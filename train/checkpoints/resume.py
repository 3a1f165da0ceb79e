"""Goes on from a checkpoint: finds it, says what has changed since, and puts what it holds back in its place."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tools.cli import UserError
from train.checkpoints.state import VERSION, differences, moved_records, other_networks, read_newest
from train.config import Config
from train.run import Run
from train.runtime.dist import Group

HYPERPARAMETERS = ("lr", "betas", "eps", "momentum", "weight_decay", "warmup_steps")  # of an optimizer's groups


def find_checkpoint(config: Config, group: Group, folder: Path, name: str, data: dict) -> dict[str, Any] | None:
    """The checkpoint to go on from, read by the first process for all; None without --resume or when there is none."""
    if not config.resume:
        return None
    saved, warnings = group.first(read_newest, folder, name)
    if group.is_main:
        for warning in warnings:
            print(f"warning: {warning}", flush=True)
    if saved is None:
        others = group.first(other_networks, folder, name)
        if others:
            raise UserError(
                f"the checkpoint in {folder} is of another network (--arch: {', '.join(others)} -> {name}): "
                f"give the flag back, pass another --model-dir, or start anew without --resume"
            )
        if group.is_main:
            print(f"nothing to resume in {folder}: starting", flush=True)
    elif goes_on(config, saved):
        check_checkpoint(saved, config, folder, data)
    return saved


def check_checkpoint(saved: dict[str, Any], config: Config, folder: Path, data: dict) -> None:
    """Raise UserError when the run cannot go on from the checkpoint as it is asked to."""
    ours = saved.get("backfill")
    if ours is None:
        raise UserError(f"the checkpoint in {folder} is iw3's: take its weights with --resume --reset-state")
    if ours["version"] != VERSION:
        raise UserError(
            f"the checkpoint in {folder} has version {ours['version']}, expected {VERSION}: go on with the Backfill "
            f"that wrote it, or take its weights with --reset-state"
        )
    found = differences(saved, config, data)
    if found:
        raise UserError(
            f"the checkpoint in {folder} was made with other settings ({'; '.join(found)}): "
            f"give the flags back, or start from its weights with --reset-state"
        )


def goes_on(config: Config, saved: dict[str, Any] | None) -> bool:
    """Whether the run goes on from the checkpoint, instead of taking its weights alone."""
    return saved is not None and not config.reset_state


def restore(run: Run, saved: dict[str, Any]) -> None:
    """Put what the checkpoint holds besides weights and place where it belongs.

    Where the dataset has changed (--accept-data), records that are still there keep the losses that mining knows of
    them, under their new numbers, and the slots of the epoch that are still to do are drawn from the new dataset.
    """
    ours = saved["backfill"]
    restore_optimizer(run.optimizer, saved["optimizer_state_dict"][0])
    restore_scaler(run.scaler, saved["grad_scaler_state_dict"][0])
    if run.gan:
        run.gan.load_state_dict(ours["gan"])
        restore_optimizer(run.gan.optimizer, saved["optimizer_state_dict"][1])
        restore_scaler(run.gan.scaler, saved["grad_scaler_state_dict"][1])
    if run.ema:
        run.ema.load_state_dict(ours["ema"])
    if run.history:
        mining = ours["mining"]
        if ours["data"]["shards"] != run.data["shards"]:
            moved = moved_records(ours["data"]["shards"], run.data["shards"])
            run.place.losses = [(int(moved[record]), loss) for record, loss in run.place.losses if moved[record] >= 0]
            mining = moved_history(mining, moved, run.plan.count)
        run.history.load_state_dict(mining)
    if ours["data"]["eval_fingerprint"] != run.data["eval_fingerprint"]:  # numbers that cannot be compared
        run.place.best, run.place.best_metrics, run.place.passed = None, {}, []
    elif run.place.best_metrics:
        run.place.best = run.place.best_metrics[run.config.eval_metric]


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load what the optimizer has learned; rates and the like stay those of the configuration."""
    ours = [{name: group[name] for name in HYPERPARAMETERS if name in group} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, values in zip(optimizer.param_groups, ours, strict=True):
        group.update(values)


def restore_scaler(scaler: torch.amp.GradScaler, state: dict[str, Any]) -> None:
    if state:  # empty when it was trained without one
        scaler.load_state_dict(state)


def moved_history(mining: dict[str, Any], moved: np.ndarray, count: int) -> dict[str, Any]:
    """The losses of the records that are still there, under their new numbers."""
    numbers = torch.from_numpy(moved)[mining["seen"]]
    kept = numbers >= 0
    losses, counts = mining["losses"][:, kept], mining["counts"][kept]
    return {"records": count, "seen": numbers[kept], "losses": losses, "counts": counts}
