"""Builds a run from its configuration, new or from a checkpoint."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import create_network, load_weights, network_name
from pack.shards.cache import Cache
from pack.shards.exclusion import left_out_keys, read_keys, unknown_keys
from pack.shards.store import use_endpoint
from tools.cli import UserError
from tools.cli.machine import usable_cores
from tools.cli.sizes import parse_size
from train.checkpoints.resume import find_checkpoint, goes_on, restore
from train.checkpoints.save import save
from train.checkpoints.state import Place, changed, describe_data, read_quarantine, set_aside
from train.config import Config
from train.data.mining import History
from train.data.plan import Plan, epoch_slots
from train.data.samples import Records, Samples
from train.data.sources import load_split
from train.data.stream import Stream
from train.objectives.gan import create_gan
from train.objectives.loss import create_loss
from train.optimizers.ema import EMA
from train.optimizers.optim import is_schedule_free
from train.optimizers.recipe import create_optimizer_of, create_scaler, precision
from train.run import Run
from train.runtime.dist import Group
from train.runtime.log import Curves, add_charts, add_hyperparameters
from train.runtime.seeds import generator
from train.runtime.signals import Stop


def build(config: Config, group: Group, stop: Stop) -> Run:
    """Everything that the loop needs, with what a checkpoint holds already in its place.

    Raises UserError or FileNotFoundError, with what mends it, before any work starts.
    """
    tiles, world = config.tiles_per_record, group.world_size
    if config.backward_step % (world * tiles):
        shares = f", {tiles} of a record together" if tiles > 1 else ""
        raise UserError(
            f"--backward-step {config.backward_step} counts sequences over all {world} processes{shares}: "
            f"expected a multiple of {world * tiles}"
        )
    folder = Path(config.model_dir)
    records, eval_records = group.first(load_splits, config)
    use_endpoint(config.endpoint_url)
    cache = group.first(open_cache, config, records, eval_records)
    read = cache.read_record if cache else None
    data = describe_data(records, eval_records)
    network = create_network(config.arch, config.init)
    saved = find_checkpoint(config, group, folder, network_name(network), data)
    place = Place(**saved["backfill"]["place"]) if goes_on(config, saved) else new_place(config, group)
    network = create_network(config.arch, config.init, generator(place.seed, "weights"))
    load_first_weights(network, config, group, saved)
    network.to(group.device).train()
    network.checkpoint_blocks = config.checkpoint_blocks
    optimizer = create_optimizer_of(config, network)
    workers = config.num_workers if config.num_workers >= 0 else max(min(usable_cores() - 2, 8), 0)
    slots = epoch_slots(config.num_samples, config.frames, config.backward_step)
    run = Run(
        config=config,
        group=group,
        stop=stop,
        folder=folder,
        network=network,
        forward=network,
        criterion=create_loss(config.loss, config.lpips_frames, group.device),
        optimizer=optimizer,
        scaler=create_scaler(config, group.device),
        ema=EMA(network, config.ema_decay, config.ema_step) if config.ema_model else None,
        gan=create_gan(config, place.seed, group.device, saved),
        history=History(len(records)) if config.hard_example == "linear" else None,
        plan=Plan(records.sizes, slots, place.seed, config.shuffle_shards, records.shares, tiles),
        stream=Stream(
            Samples(records, config.frames, config.tile, place.seed, read, tiles > 1, config.augment == "strong"),
            workers,
            group.device.type == "cuda",
            tiles,
        ),
        eval_samples=Samples(eval_records, config.frames, config.tile, read=read) if eval_records else None,
        eval_workers=workers,
        data=data,
        place=place,
        curves=None,
        bad=group.first(read_quarantine, folder),
    )
    if goes_on(config, saved):
        restore(run, saved)
    if config.compile:
        from train.runtime.compiling import compile_forward  # seconds that others need not wait

        run.forward = compile_forward(network, run.criterion, config, group)
    announce(run, saved)
    if config.dry_run:
        return run
    group.first(open_curves, run)
    if not goes_on(config, saved):
        begin(run)
    return run


def load_splits(config: Config) -> tuple[Records, Records | None]:
    """The records for training and for evaluation."""
    use_endpoint(config.endpoint_url)
    excluded = read_keys(Path(config.exclude)) if config.exclude else frozenset()
    splits = [load_split(config, name, excluded) for name in (("train",) if config.skip_eval else ("train", "eval"))]
    found = left_out_keys(shard for records in splits for shard in records.shards)
    for line in unknown_keys(Path(config.exclude), excluded - found):
        print(line, flush=True)
    return splits[0], None if config.skip_eval else splits[1]


def open_cache(config: Config, *splits: Records | None) -> Cache | None:
    """The cache that is asked for, which these splits fit into. Raises UserError when it is too small."""
    if not config.cache_dir or config.dry_run:
        return None
    cache = Cache(Path(config.cache_dir), parse_size("--cache-size", config.cache_size))
    cache.check([shard for records in splits if records for shard in records.shards])
    return cache


def new_place(config: Config, group: Group) -> Place:
    seed = config.seed if config.seed >= 0 else int.from_bytes(os.urandom(3), "big")
    return group.broadcast(Place(run_id=time.strftime("%Y%m%d%H%M%S"), seed=seed))


def load_first_weights(network, config: Config, group: Group, saved: dict[str, Any] | None) -> None:
    """The weights of the checkpoint, or of --checkpoint-file, which the first process reads for all."""

    def read() -> dict[str, torch.Tensor]:
        load_weights(network, config.checkpoint_file)
        return network.state_dict()

    if saved is None and config.checkpoint_file:
        network.load_state_dict(group.first(read))
    elif saved is not None:
        if saved["kwargs"] != network.kwargs:
            raise UserError(
                f"the checkpoint in {config.model_dir} is of a network with {saved['kwargs']}, expected "
                f"{network.kwargs}: give --arch back or pass another --model-dir"
            )
        ours = saved.get("backfill", {}) if config.reset_state else {}
        averages = ours.get("averages") or (ours.get("ema") or {}).get("weights")
        network.load_state_dict(averages or saved["state_dict"])


def announce(run: Run, saved: dict[str, Any] | None) -> None:
    """Say what starts, or goes on, and with which changes."""
    config, place = run.config, run.place
    parameters = sum(p.numel() for p in run.network.parameters())
    rates = "no schedule" if is_schedule_free(run.optimizer) else config.scheduler
    lines = [
        f"{run.name}: {parameters} parameters on {run.group.world_size} x {run.group.device.type} "
        f"in {precision(config, run.group.device)}, {config.optimizer} with {rates}, loss {config.loss}, "
        f"seed {place.seed}",
        f"{run.plan.count} records, {len(run.eval_samples.records) if run.eval_samples else 0} for evaluation; "
        f"{config.epochs} epochs of {run.plan.slots} sequences, {config.backward_step} a step",
    ]
    if goes_on(config, saved):
        lines += [f"changed since the checkpoint: {line}" for line in changed(saved, config)]
        if saved["backfill"]["data"]["eval_fingerprint"] != run.data["eval_fingerprint"]:
            lines.append("the records for evaluation have changed: the next evaluation is the best so far")
        elif place.best is not None and saved["train_kwargs"].get("eval_metric", "loss") != config.eval_metric:
            lines.append(f"the best network so far has {config.eval_metric} {place.best:.4f}, and stays until a better")
        if place.epoch > config.epochs:
            lines.append(f"all {config.epochs} epochs are done: nothing is left to do")
        else:
            lines.append(f"resumed in epoch {place.epoch} after {place.slots_done} sequences")
    if run.group.is_main:
        print("\n".join(lines), flush=True)


def open_curves(run: Run) -> None:
    """Points behind the checkpoint are dropped; those of an epoch's end, too, when it is still to be evaluated."""
    run.folder.mkdir(parents=True, exist_ok=True)
    run.curves = Curves(run.folder / "logs" / run.place.run_id, run.place.step, run.place.slots_done == run.plan.slots)


def begin(run: Run) -> None:
    """Write the configuration down, and a first checkpoint: a run killed in its first epoch goes on as the same run.

    So a folder that cannot be written, or a disk that is too small, is found out before any work is done.
    """
    text = json.dumps(asdict(run.config) | {"seed": run.place.seed}, indent=2)
    if run.group.is_main:
        run.curves.epochs.add_text("configuration", f"```\n{text}\n```", 0)
        add_hyperparameters(run.curves.epochs, asdict(run.config), run.config.eval_metric)
        add_charts(run.curves.epochs)
    for path in run.group.first(set_aside, run.folder, run.name, run.place.run_id):
        if run.group.is_main:
            print(f"a checkpoint of an earlier run is kept as {path}", flush=True)
    save(run)
