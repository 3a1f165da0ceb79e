"""What a run leaves on the disk: the checkpoint that it goes on from, and networks to be used."""

from dataclasses import asdict
from pathlib import Path

import torch

from model.checkpoint import describe, save_network, write_checkpoint
from tools.cli import UserError
from train.checkpoints.state import as_payload, checkpoint_path, rotate
from train.optimizers.optim import averaged, is_schedule_free
from train.run import Run, evaluated_weights


def save(run: Run) -> None:
    """Write the checkpoint, whole, after everything that it vouches for is on the disk."""
    config = asdict(run.config) | {"seed": run.place.seed}
    payload = describe(run.network, config) | {
        "optimizer_state_dict": [part.optimizer.state_dict() for part in (run, run.gan) if part],
        "scheduler_state_dict": [],  # rates are a function of the epoch
        "grad_scaler_state_dict": [part.scaler.state_dict() for part in (run, run.gan) if part],
        "best_loss": run.place.best_metrics.get("loss", 1e9),  # whatever metric chose it
        "last_epoch": run.place.epoch - 1,
        "backfill": as_payload(
            run.place,
            run.data,
            mining=run.history.state_dict() if run.history else None,
            ema=run.ema.state_dict() if run.ema else None,
            gan=run.gan.state_dict() if run.gan else None,
            averages=averages(run),
        ),
    }

    run.group.first(write_newest, run, payload)


def write_newest(run: Run, payload: dict) -> None:
    try:
        run.curves.flush()
        if run.place.step:  # before, what is there is another run's
            rotate(run.folder, run.name, run.config.keep_checkpoints)
        write_checkpoint(checkpoint_path(run.folder, run.name), payload)
    except OSError as error:
        raise UserError(
            f"no checkpoint could be written in {run.folder} ({error.strerror or error}), the one before is as it was: "
            f"make room and go on with --resume"
        ) from error


def averages(run: Run) -> dict[str, torch.Tensor] | None:
    """The averaged weights of a schedule-free optimizer, which --reset-state starts from."""
    if not is_schedule_free(run.optimizer):
        return None
    with averaged(run.optimizer, run.network):
        return {name: weight.detach().cpu().clone() for name, weight in run.network.state_dict().items()}


def save_best(run: Run) -> None:
    """The file that iw3 loads, a copy under this run's name, and with --ema-model the weights that it averages."""
    write_networks(run, run.folder)
    if not run.config.disable_backup:
        with evaluated_weights(run):
            write_network(run, run.folder / f"{run.name}.{run.place.run_id}.pth.bk")


def write_networks(run: Run, folder: Path) -> None:
    """The network that is evaluated and, with --ema-model, its raw weights beside it."""
    with evaluated_weights(run):
        write_network(run, folder / f"{run.name}.pth")
    if run.ema:
        write_network(run, folder / f"{run.name}.raw.pth")


def write_network(run: Run, path: Path) -> None:
    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_network(path, run.network, asdict(run.config))

    run.group.first(write)
