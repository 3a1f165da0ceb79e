"""The training checkpoint: everything that a run needs to go on as if nothing had happened.

`NAME.checkpoint.pth` is iw3's resume file (weights, optimizer, scaler, best loss, last epoch) with a key `backfill`
that adds what iw3 forgets. Earlier ones are kept as `NAME.checkpoint.1.pth`, `.2`, ... and used when the newest cannot
be read.
"""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from model.checkpoint import read_file
from train.config import Config
from train.stream import Records

VERSION = 1
# settings that decide what a step computes: with another value the run would not be the one that was begun
FIXED = (
    "arch loss lpips_frames diff_aug num_samples backward_step tile frames hard_example shuffle_shards "
    "optimizer ema_model ema_decay ema_step seed"
).split()


@dataclass
class Place:
    """Where a run stands."""

    run_id: str  # local start time, which names backups, the loss CSV and the curves
    seed: int
    epoch: int = 1  # that is being trained
    slots_done: int = 0  # of it
    step: int = 0  # optimizer steps of the run
    best: float | None = None  # lowest evaluation so far
    evaluated: float | None = None  # last evaluation
    digest: str = ""  # of every sample that the run has seen, in order
    sums: dict[str, float] = field(default_factory=dict)  # of the epoch's loss terms
    counted: int = 0  # sequences in the sums
    skipped: int = 0  # steps of the epoch that were not finite
    losses: list[tuple[int, float]] = field(default_factory=list)  # (record, loss) of the epoch, for mining
    rows: list[list[float | None]] = field(default_factory=list)  # of the loss CSV

    def next_epoch(self) -> None:
        self.epoch, self.slots_done, self.counted, self.skipped = self.epoch + 1, 0, 0, 0
        self.sums, self.losses = {}, []


def checkpoint_path(folder: Path, name: str, age: int = 0) -> Path:
    """The newest checkpoint, or the one that is `age` saves older."""
    return folder / (f"{name}.checkpoint.{age}.pth" if age else f"{name}.checkpoint.pth")


def rotate(folder: Path, name: str, keep: int) -> None:
    """Make room for a new checkpoint without the newest ever missing: it gets a second name, to be written over."""
    for age in range(keep - 1, 1, -1):
        if checkpoint_path(folder, name, age - 1).exists():
            os.replace(checkpoint_path(folder, name, age - 1), checkpoint_path(folder, name, age))
    newest, second = checkpoint_path(folder, name), checkpoint_path(folder, name, 1)
    if keep > 1 and newest.exists():
        link = second.with_name(second.name + ".tmp")
        link.unlink(missing_ok=True)
        os.link(newest, link)
        os.replace(link, second)


def newest_readable(folder: Path, name: str) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest checkpoint that can be read, or None when there is none, and a warning for each that cannot.

    Raises ValueError when there are checkpoints and none of them can be read.
    """
    warnings = []
    ages = [p for p in folder.glob(f"{name}.checkpoint.*.pth") if p.suffixes[-2][1:].isdigit()]
    for path in [checkpoint_path(folder, name), *sorted(ages, key=lambda p: int(p.suffixes[-2][1:]))]:
        if not path.exists():
            continue
        try:
            return read_file(path), warnings
        except ValueError as error:
            warnings.append(f"{error}; trying the one before")
    if warnings:
        raise ValueError(
            f"{warnings[0].partition(';')[0]}; no earlier one can be read either: remove them to start anew"
        )
    return None, []


def describe_data(train: Records, evaluation: Records | None) -> dict[str, Any]:
    """What a checkpoint says of the dataset."""
    shards = [[shard.name, shard.sha256, len(shard.records)] for shard in train.shards]
    return {
        "fingerprint": train.fingerprint(),
        "shards": shards,
        "eval_fingerprint": evaluation.fingerprint() if evaluation else "",
    }


def differences(saved: dict[str, Any], config: Config, data: dict[str, Any]) -> list[str]:
    """What keeps a run from going on, each as "name: old -> new", with what mends it."""
    found = []
    old, new = saved["train_kwargs"], asdict(config)
    for name in FIXED:
        before, now = old.get(name, new[name]), new[name]
        if name == "seed":
            before = saved["backfill"]["place"]["seed"]
            now = config.seed if config.seed >= 0 else before
        if name == "arch":
            before, now = before.removesuffix("_small"), now.removesuffix("_small")
        if before != now:
            found.append(f"--{name.replace('_', '-')}: {before} -> {now}")
    before = saved["backfill"]["data"]
    if before["fingerprint"] != data["fingerprint"] and not config.accept_data:
        count = [sum(shard[2] for shard in side["shards"]) for side in (before, data)]
        sizes = [len(side["shards"]) for side in (before, data)]
        found.append(
            f"training data: {sizes[0]} shards with {count[0]} records ({before['fingerprint']}) -> "
            f"{sizes[1]} with {count[1]} ({data['fingerprint']}), --accept-data goes on with it"
        )
    return found


def changed(saved: dict[str, Any], config: Config) -> list[str]:
    """The other settings that differ from the checkpoint's, which a run may change."""
    ignored = {*FIXED, "resume", "reset_state", "accept_data", "checkpoint_file", "model_dir", "data_dir"}
    old, new = saved["train_kwargs"], asdict(config)
    return [f"{name}: {old[name]} -> {new[name]}" for name in new if name not in ignored and old.get(name) != new[name]]


def moved_records(before: list[list], now: list[list]) -> dict[int, int]:
    """Old record numbers to new ones, for the shards that are in both datasets."""
    starts, start = {}, 0
    for name, sha256, count in now:
        starts[name, sha256] = start
        start += count
    moved, start = {}, 0
    for name, sha256, count in before:
        if (name, sha256) in starts:
            moved |= {start + i: starts[name, sha256] + i for i in range(count)}
        start += count
    return moved


def as_payload(place: Place, data: dict[str, Any], **states: dict | None) -> dict[str, Any]:
    """What our key in a checkpoint holds."""
    return {"version": VERSION, "place": asdict(place), "data": data, **states}
