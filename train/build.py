"""Builds a run from its configuration, new or from a checkpoint."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import averages, create_network, load_weights, network_name, which_weights
from model.light_video_inpaint import LightVideoInpaint
from pack.shards.exclusion import left_out_keys, read_keys, unknown_keys
from pack.shards.store import use_endpoint
from tools.cli import UserError, config_text, plural
from tools.cli.files import write_file
from tools.cli.machine import usable_cores
from train.checkpoints.lineage import sources_of
from train.checkpoints.resume import find_checkpoint, is_continued, restore
from train.checkpoints.run_id import new_run_id
from train.checkpoints.state import Position, changed, describe_data, set_aside
from train.config import Config
from train.data.dataset import TrainingData, training_plan, training_samples
from train.data.mining import History
from train.data.own import STAGES
from train.data.quarantine import Quarantine
from train.data.records import Records
from train.data.samples import Samples
from train.data.sources import load_split, open_cache
from train.data.stream import Stream
from train.objectives.gan import create_gan
from train.objectives.learner import Learner
from train.objectives.loss import create_loss
from train.optimizers.ema import EMA
from train.optimizers.optim import is_schedule_free
from train.optimizers.recipe import create_optimizer_of, create_scaler, precision
from train.passes import check_shares, divide
from train.run import Run, save
from train.runtime.dist import Group
from train.runtime.job import Job
from train.runtime.log import Curves, add_charts, add_hyperparameters
from train.runtime.replicas import replicate
from train.runtime.seeds import generator
from train.runtime.signals import Stop
from train.runtime.trackers import TrackedRun, open_tracker


def build(config: Config, group: Group, stop: Stop) -> Run:
    """Everything that the loop needs, with the state of a checkpoint already restored.

    Raises UserError or MissingFile, with what fixes it, before any work starts.
    """
    check_shares(config, group.world_size)
    job = Job(config, group, stop, Path(config.model_dir), divide(config, group))
    records, eval_records = group.first(load_splits, config)
    description = describe_data(records, eval_records)
    network = create_network(config.arch, config.init)
    saved = find_checkpoint(config, group, job.folder, network_name(network), description)
    continued = is_continued(config, saved)
    position = Position(**saved["backfill"]["place"]) if continued else new_position(config, group)
    data = build_data(job, records, eval_records, position.seed, description)
    learner = build_learner(config, group, position.seed, saved)
    run = Run(job, learner, data, position)
    if continued:
        assert saved is not None
        restore(config, learner, data, position, saved)
    if config.compile:
        from train.compiling import compile_forward  # takes seconds to import, only with --compile

        learner.forward = compile_forward(learner.network, learner.criterion, job)
    learner.forward = replicate(learner.forward, group)
    announce(run, saved)
    if config.dry_run:
        return run
    group.first(open_curves, run)
    if not continued:
        begin(run)
    return run


def build_data(
    job: Job, records: Records, eval_records: Records | None, seed: int, description: dict[str, Any]
) -> TrainingData:
    """The plan, the stream and the other parts of the training data."""
    config, group = job.config, job.group
    use_endpoint(config.endpoint_url)
    cache = group.first(open_cache, config, records, eval_records)
    read = cache.read_record if cache else None
    workers = config.num_workers if config.num_workers >= 0 else max(min(usable_cores() - 2, 8), 0)
    return TrainingData(
        plan=training_plan(config, records, config.epoch_slots, seed),
        history=History(len(records)) if config.hard_example == "linear" else None,
        stream=Stream(training_samples(config, records, seed, read, STAGES), workers, config.tiles_per_record),
        eval_samples=Samples(eval_records, config.frames, config.tile, read=read) if eval_records else None,
        workers=workers,
        quarantine=Quarantine(job.folder, len(records), group, writes=not config.dry_run),
        description=description,
        sources=sources_of(records.shards, records.sizes),
    )


def build_learner(config: Config, group: Group, seed: int, saved: dict[str, Any] | None) -> Learner:
    """The network with its initial weights, and everything that changes them."""
    network = create_network(config.arch, config.init, generator(seed, "weights"))
    load_first_weights(network, config, group, saved)
    network.to(group.device).train()
    network.checkpoint_blocks = config.checkpoint_blocks
    return Learner(
        network=network,
        forward=network,
        criterion=create_loss(config.loss, config.lpips_frames, group.device),
        optimizer=create_optimizer_of(config, network),
        scaler=create_scaler(config, group.device),
        ema=EMA(network, config.ema_decay, config.ema_step) if config.ema_model else None,
        gan=create_gan(config, seed, group.device, saved),
    )


def load_splits(config: Config) -> tuple[Records, Records | None]:
    """The records for training and for evaluation."""
    use_endpoint(config.endpoint_url)
    excluded = read_keys(Path(config.exclude)) if config.exclude else frozenset()
    splits = [load_split(config, name, excluded) for name in (("train",) if config.skip_eval else ("train", "eval"))]
    found = left_out_keys(shard for records in splits for shard in records.shards)
    for line in unknown_keys(Path(config.exclude), excluded - found):
        print(line, flush=True)
    return splits[0], None if config.skip_eval else splits[1]


def new_position(config: Config, group: Group) -> Position:
    """The start of a new run, with a random seed unless one is given."""
    seed = config.seed if config.seed >= 0 else int.from_bytes(os.urandom(3), "big")
    return group.broadcast(Position(new_run_id(Path(config.model_dir) / "logs"), seed))


def load_first_weights(network: LightVideoInpaint, config: Config, group: Group, saved: dict[str, Any] | None) -> None:
    """Load the weights of the checkpoint, or of --checkpoint-file, which the first process reads for all."""

    def read() -> dict[str, torch.Tensor]:
        load_weights(network, config.checkpoint_file)
        return network.state_dict()

    if saved is None and config.checkpoint_file:
        network.load_state_dict(group.first(read))
    elif saved is not None:
        if saved["kwargs"] != network.kwargs:
            raise UserError(
                f"the checkpoint in {config.model_dir} is of a network with {saved['kwargs']}, expected "
                f"{network.kwargs}: restore --arch or pass another --model-dir"
            )
        network.load_state_dict((config.reset_state and averages(saved)) or saved["state_dict"])


def announce(run: Run, saved: dict[str, Any] | None) -> None:
    """Log the run that starts or is resumed."""
    job, learner, plan, position = run.job, run.learner, run.data.plan, run.position
    config, eval_samples = job.config, run.data.eval_samples
    parameters = sum(p.numel() for p in learner.network.parameters())
    rates = "no schedule" if is_schedule_free(learner.optimizer) else config.scheduler
    epochs = plural(config.epochs, "epoch") if config.has_end else "epochs"
    lines = [
        f"{learner.name}: {parameters:,} parameters on {job.group.world_size} x {job.group.device.type} "
        f"in {precision(config, job.group.device)}, {config.optimizer} with {rates}, loss {config.loss}, "
        f"seed {position.seed}",
        f"{plural(plan.count, 'record')}, {len(eval_samples.records) if eval_samples else 0} for evaluation; "
        f"{epochs} of {plan.slots} sequences, {config.backward_step} per step, "
        f"{job.passes.batch_size} per pass",
    ]
    if saved is not None and is_continued(config, saved):
        lines += describe_resume(run, saved)
    elif saved is not None:
        kind = ", its averaged weights" if averages(saved) else ""
        lines.append(f"starts from the checkpoint in {config.model_dir}{kind}")
    elif config.checkpoint_file and job.group.is_main:
        lines.append(f"starts from {config.checkpoint_file}{which_weights(config.checkpoint_file)}")
    job.group.log("\n".join(lines))


def describe_resume(run: Run, saved: dict[str, Any]) -> list[str]:
    """Lines about what has changed since the checkpoint, and where the run resumes."""
    config, position = run.job.config, run.position
    lines = [f"changed since the checkpoint: {line}" for line in changed(saved, config)]
    if saved["backfill"]["data"]["eval_fingerprint"] != run.data.description["eval_fingerprint"]:
        lines.append("the records for evaluation have changed: the next evaluation counts as the best so far")
    elif position.best is not None and saved["train_kwargs"].get("eval_metric", "loss") != config.eval_metric:
        lines.append(
            f"the best network so far has {config.eval_metric} {position.best:.4f} and is kept until one is better"
        )
    if position.epoch > config.epochs:
        lines.append(f"the run is complete after {plural(config.epochs, 'epoch')}: there is nothing left to do")
    else:
        lines.append(f"resumed in epoch {position.epoch} after {position.slots_done} sequences")
    return lines


def open_curves(run: Run) -> None:
    """Open TensorBoard's files without points after the checkpoint, or of the end of an epoch that is repeated.

    Writes the configuration, with the seed that was chosen, to config.toml.
    """
    folder, position = run.job.folder, run.position
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "config.toml", config_text(replace(run.job.config, seed=position.seed)).encode())
    if run.job.group.device.type == "cuda":
        from train.operations import (
            throughput_of,
        )  # takes seconds to import and to count, which a CPU need not wait for

        run.throughput = throughput_of(run.learner, run.job.config, run.job.group.device)
    epoch_pending = position.slots_done == run.data.plan.slots
    tracker = open_tracker(run.job.config.track, describe_run(run))
    run.curves = Curves(folder / "logs" / position.run_id, position.step, epoch_pending, tracker)


def describe_run(run: Run) -> TrackedRun:
    """What a tracker is told about the run."""
    folder, position, data = run.job.folder, run.position, run.data
    records = {"records": data.plan.count, "data_fingerprint": data.description["fingerprint"]}
    settings = asdict(run.job.config) | {"seed": position.seed} | records
    return TrackedRun(f"{position.run_id}-{position.seed}", f"{folder.name} {position.run_id}", folder, settings)


def begin(run: Run) -> None:
    """Write the configuration and a first checkpoint, so that a run killed in its first epoch resumes as the same run.

    A folder that cannot be written, or a disk that is too small, is thus found before any work is done.
    """
    config, group, position = run.job.config, run.job.group, run.position
    text = json.dumps(asdict(config) | {"seed": position.seed}, indent=2)
    if group.is_main:
        run.curves.epochs.board.add_text("configuration", f"```\n{text}\n```", 0)
        add_hyperparameters(run.curves.epochs, asdict(config), config.eval_metric)
        add_charts(run.curves.epochs)
    for path in group.first(set_aside, run.job.folder, run.learner.name, position.run_id):
        group.log(f"the checkpoint of an earlier run is kept as {path}")
    save(run)
