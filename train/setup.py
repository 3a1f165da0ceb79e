"""Builds a run from its configuration, new or from a checkpoint."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import create_network, load_weights, network_name
from pack.shard import list_shards
from train.config import Config
from train.dist import Group
from train.ema import EMA
from train.log import Curves
from train.loop import Run
from train.loss import create_loss
from train.mining import History
from train.optim import create_optimizer, is_schedule_free
from train.plan import Plan, epoch_slots
from train.seeds import generator
from train.state import Place, changed, describe_data, differences, moved_records, newest_readable
from train.stop import Stop
from train.stream import Records, Samples, Stream


def build(config: Config, group: Group, stop: Stop) -> Run:
    """Everything that the loop needs, with what a checkpoint holds already in its place.

    Raises ValueError or FileNotFoundError, with what mends it, before any work starts.
    """
    if config.backward_step % group.world:
        raise ValueError(
            f"--backward-step {config.backward_step} counts sequences over all {group.world} processes: "
            f"expected a multiple of {group.world}"
        )
    folder = Path(config.model_dir)
    records, eval_records = load_split(config, "train"), None if config.skip_eval else load_split(config, "eval")
    data = describe_data(records, eval_records)
    network = create_network(config.arch, config.init)
    saved = find_checkpoint(config, group, folder, network_name(network), data)
    place = Place(**saved["backfill"]["place"]) if goes_on(config, saved) else new_place(config, group)
    network = create_network(config.arch, config.init, generator(place.seed, "weights"))
    load_first_weights(network, config, group, saved)
    network.to(group.device).train()
    network.checkpoint_blocks = config.checkpoint_blocks
    optimizer = create_optimizer_of(config, network)
    workers = config.num_workers if config.num_workers >= 0 else max(min((os.cpu_count() or 1) - 2, 8), 0)
    slots = epoch_slots(config.num_samples, config.frames, config.backward_step)
    run = Run(
        config=config,
        group=group,
        stop=stop,
        folder=folder,
        network=network,
        criterion=create_loss(config.loss, config.lpips_frames, group.device),
        optimizer=optimizer,
        scaler=torch.amp.GradScaler(
            group.device.type,
            enabled=group.device.type == "cuda" and not config.disable_amp and config.amp_float == "fp16",
        ),
        ema=EMA(network, config.ema_decay, config.ema_step) if config.ema_model else None,
        history=History(len(records)) if config.hard_example == "linear" else None,
        plan=Plan([len(shard.records) for shard in records.shards], slots, place.seed, config.shuffle_shards),
        stream=Stream(Samples(records, config.frames, config.tile, place.seed), workers, group.device.type == "cuda"),
        eval_samples=Samples(eval_records, config.frames, config.tile) if eval_records else None,
        eval_workers=workers,
        data=data,
        place=place,
        curves=None,
        bad=set(),
    )
    if goes_on(config, saved):
        restore(run, saved)
    announce(run, saved)
    return run


def load_split(config: Config, split: str) -> Records:
    folder = Path(config.data_dir) / split
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder, expected {config.data_dir}/train and {config.data_dir}/eval with shards: "
            f"make them with `make shards VIDEO=clip.mp4 OUT={folder}`"
        )
    records = Records(tuple(list_shards(folder)))
    if not len(records):
        raise ValueError(f"{folder}: its shards hold no records: pack videos with more depth or motion into it")
    return records


def find_checkpoint(config: Config, group: Group, folder: Path, name: str, data: dict) -> dict[str, Any] | None:
    """The checkpoint to go on from, read by the first process for all; None without --resume or when there is none."""
    if not config.resume:
        return None
    found: Any = None
    if group.leads:
        try:
            found = newest_readable(folder, name)
        except ValueError as error:
            found = error
    found = group.broadcast(found)
    if isinstance(found, ValueError):
        raise found
    saved, warnings = found
    if group.leads:
        for warning in warnings:
            print(f"warning: {warning}", flush=True)
        if saved is None:
            print(f"nothing to resume in {folder}: starting", flush=True)
    if saved and goes_on(config, saved):
        if "backfill" not in saved:
            raise ValueError(f"{folder}: the checkpoint is iw3's: take its weights with --resume --reset-state")
        found = differences(saved, config, data)
        if found:
            raise ValueError(
                f"the checkpoint in {folder} was made with other settings ({'; '.join(found)}): "
                f"give the flags back, or start from its weights with --reset-state"
            )
    return saved


def goes_on(config: Config, saved: dict[str, Any] | None) -> bool:
    """Whether the run goes on from the checkpoint, instead of taking its weights alone."""
    return saved is not None and not config.reset_state


def new_place(config: Config, group: Group) -> Place:
    seed = config.seed if config.seed >= 0 else int.from_bytes(os.urandom(3), "big")
    return group.broadcast(Place(run_id=time.strftime("%Y%m%d%H%M%S"), seed=seed))


def load_first_weights(network, config: Config, group: Group, saved: dict[str, Any] | None) -> None:
    """The weights of the checkpoint, or of --checkpoint-file, which the first process reads for all."""
    if saved is None and config.checkpoint_file:
        if group.leads:
            load_weights(network, config.checkpoint_file)
        network.load_state_dict(group.broadcast(network.state_dict()))
    elif saved is not None:
        ours = saved.get("backfill", {}) if config.reset_state else {}
        averages = ours.get("averages") or (ours.get("ema") or {}).get("weights")
        network.load_state_dict(averages or saved["state_dict"])


def create_optimizer_of(config: Config, network) -> torch.optim.Optimizer:
    steps = epoch_slots(config.num_samples, config.frames, config.backward_step) // config.backward_step
    return create_optimizer(
        config.optimizer,
        network,
        config.learning_rate,
        config.weight_decay,
        betas=(config.adam_beta1, config.adam_beta2),
        momentum=config.momentum,
        warmup_steps=config.warmup_epoch * steps,
    )


def restore(run: Run, saved: dict[str, Any]) -> None:
    """Put what the checkpoint holds besides weights and place where it belongs."""
    run.optimizer.load_state_dict(saved["optimizer_state_dict"][0])
    run.scaler.load_state_dict(saved["grad_scaler_state_dict"][0])
    ours = saved["backfill"]
    if run.ema and ours["ema"]:
        run.ema.load_state_dict(ours["ema"])
    if run.history and ours["mining"]:
        moved = None
        if ours["data"]["shards"] != run.data["shards"]:
            moved = moved_records(ours["data"]["shards"], run.data["shards"])
            run.place.losses = [(moved[record], loss) for record, loss in run.place.losses if record in moved]
        run.history.load_state_dict(ours["mining"] if moved is None else moved_history(ours["mining"], moved, run.plan))
    if ours["data"]["eval_fingerprint"] != run.data["eval_fingerprint"]:
        run.place.best = None  # numbers of other records cannot be compared


def moved_history(mining: dict[str, Any], moved: dict[int, int], plan: Plan) -> dict[str, Any]:
    """The losses of the records that are still there, under their new numbers."""
    kept = [i for i, record in enumerate(mining["seen"].tolist()) if record in moved]
    seen = torch.tensor([moved[int(mining["seen"][i])] for i in kept], dtype=torch.int64)
    return {
        "records": plan.count,
        "seen": seen,
        "losses": mining["losses"][:, kept],
        "counts": mining["counts"][kept],
    }


def announce(run: Run, saved: dict[str, Any] | None) -> None:
    """Open the curves, write the configuration down and say what starts."""
    config, place, group = run.config, run.place, run.group
    bad = run.folder / "quarantine.jsonl"
    with group.first_only() as first:
        if first:
            run.folder.mkdir(parents=True, exist_ok=True)
    if group.leads:
        pending = place.slots_done == run.plan.slots
        run.curves = Curves(run.folder / "logs" / place.run_id, place.step, pending)
        if not goes_on(config, saved):
            text = json.dumps(asdict(config) | {"seed": place.seed}, indent=2)
            run.curves.epochs.add_text("configuration", f"```\n{text}\n```", 0)
        parameters = sum(p.numel() for p in run.network.parameters())
        rates = "no schedule" if is_schedule_free(run.optimizer) else config.scheduler
        print(
            f"{run.name}: {parameters} parameters on {group.world} x {group.device.type}, "
            f"{config.optimizer} with {rates}, loss {config.loss}, seed {place.seed}\n"
            f"{run.plan.count} records, {len(run.eval_samples.records) if run.eval_samples else 0} for evaluation; "
            f"{config.epochs} epochs of {run.plan.slots} sequences, {config.backward_step} a step",
            flush=True,
        )
        if goes_on(config, saved):
            print(f"resumed in epoch {place.epoch} after {place.slots_done} sequences", flush=True)
            for line in changed(saved, config):
                print(f"changed since the checkpoint: {line}", flush=True)
        if bad.exists():
            run.bad |= {json.loads(line)["key"] for line in bad.read_text().splitlines() if line.endswith("}")}
    run.bad = group.broadcast(run.bad)
