"""The training checkpoint: everything that a run needs to continue as if it had never been stopped.

`NAME.checkpoint.pth` is iw3's resume file (weights, optimizer, scaler, best loss, last epoch) with a key `backfill`
for state that iw3 does not store. Earlier checkpoints are kept as `NAME.checkpoint.1.pth`, `.2`, ... and used
when the newest cannot be read.
"""

import os
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model.checkpoint import read_file
from tools.cli import UserError, plural
from train.checkpoints.fields import check_fields
from train.config import Config
from train.data.records import Records

VERSION = 1
# settings that decide what a step computes: with another value it would not be the same run
FIXED = (
    "arch loss lpips_frames diff_aug num_samples backward_step tile tiles_per_record frames augment holes_as_used "
    "hard_example shuffle_shards optimizer ema_model ema_decay ema_step discriminator seed"
).split()


@dataclass
class Position:
    """How far a run has come. Checkpoints store the fields under these names."""

    run_id: str  # local start time and random digits, which names backups, the loss CSV and the curves
    seed: int
    epoch: int = 1  # the current one, from 1
    slots_done: int = 0  # in the current epoch
    step: int = 0  # optimizer steps of the run
    best: float | None = None  # value of --eval-metric so far
    best_metrics: dict[str, float] = field(default_factory=dict)  # of the network that has it
    passed: list[str] = field(default_factory=list)  # simple fills that the network has outperformed
    evaluated: float | None = None  # loss of the last evaluation
    digest: str = ""  # hash of all samples that the run has seen, in order
    sums: dict[str, float] = field(default_factory=dict)  # of each loss term over the epoch
    counted: int = 0  # sequences in the sums
    skipped: int = 0  # steps of the epoch whose loss or gradient was not finite
    losses: list[tuple[int, float]] = field(default_factory=list)  # (record, loss) of the epoch, for mining
    rows: list[list[float | None]] = field(default_factory=list)  # of the loss CSV

    def next_epoch(self) -> None:
        self.epoch, self.slots_done, self.counted, self.skipped = self.epoch + 1, 0, 0, 0
        self.sums, self.losses = {}, []


def checkpoint_path(folder: Path, name: str, age: int = 0) -> Path:
    """The newest checkpoint, or the one that is `age` saves older."""
    return folder / (f"{name}.checkpoint.{age}.pth" if age else f"{name}.checkpoint.pth")


def rotate(folder: Path, name: str, keep: int) -> None:
    """Keep the newest checkpoint as `.1`; it also keeps its name until the new one replaces it."""
    ages = older(folder, name)
    for age in sorted(ages, reverse=True):
        if age + 1 < keep:
            os.replace(ages[age], checkpoint_path(folder, name, age + 1))
        elif age >= keep:
            ages[age].unlink()
    newest, second = checkpoint_path(folder, name), checkpoint_path(folder, name, 1)
    if keep > 1 and newest.exists():
        second_name(newest, second)


def second_name(path: Path, name: Path) -> None:
    """Give a file a second name, replacing the file that had it."""
    link = name.with_name(name.name + ".tmp")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, link)
    os.replace(link, name)


def older(folder: Path, name: str) -> dict[int, Path]:
    """The checkpoints besides the newest, by age."""
    pattern = re.compile(re.escape(name) + r"\.checkpoint\.(\d+)\.pth")
    return {int(match[1]): path for path in folder.glob("*.pth") if (match := pattern.fullmatch(path.name))}


def checkpoints(folder: Path, name: str) -> list[Path]:
    """All checkpoints, the newest first."""
    ages = older(folder, name)
    return [path for path in (checkpoint_path(folder, name), *(ages[age] for age in sorted(ages))) if path.exists()]


def read_newest(folder: Path, name: str) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest checkpoint that can be read, None when there is none, and a warning for each that cannot.

    Unreadable ones are renamed to `*.unreadable`, so that the next save does not keep them instead of good ones.
    Raises UserError when there are checkpoints and none of them can be read.
    """
    bad = {}
    for path in checkpoints(folder, name):
        try:
            saved = check_fields(read_file(path), path, VERSION)
        except UserError as error:
            bad[path] = str(error)
            continue
        for unreadable in bad:
            unreadable.rename(f"{unreadable}.unreadable")
        return saved, [f"{reason}; resuming from {path.name}, which is older" for reason in bad.values()]
    if bad:
        first = next(iter(bad.values()))
        raise UserError(f"{first}; no older one in {folder} can be read either: start a new run without --resume")
    return None, []


def other_networks(folder: Path, name: str) -> list[str]:
    """The networks whose checkpoints are in the folder, other than this one."""
    return sorted(
        p.name.removesuffix(".checkpoint.pth")
        for p in folder.glob("*.checkpoint.pth")
        if p.name != f"{name}.checkpoint.pth"
    )


def set_aside(folder: Path, name: str, run_id: str) -> list[Path]:
    """Keep the checkpoints of an earlier run under other names, which are returned.

    The newest also keeps its name until the first checkpoint of the new run replaces it.
    """
    kept = {path: path.with_name(f"{path.name}.{run_id}.bk") for path in checkpoints(folder, name)}
    for path, new in kept.items():
        second_name(path, new)
    for path in older(folder, name).values():
        path.unlink()
    return list(kept.values())


def describe_data(train: Records, evaluation: Records | None) -> dict[str, Any]:
    """The description of the dataset that a checkpoint holds."""
    rows = zip(train.shards, train.sizes, strict=True)
    return {
        "fingerprint": train.fingerprint(),
        # name, sha256, number of records, and the numbers within the tar of those that are excluded
        "shards": [[shard.name, shard.sha256, size, *shard.left_out] for shard, size in rows],
        "eval_fingerprint": evaluation.fingerprint() if evaluation else "",
    }


def differences(saved: dict[str, Any], config: Config, data: dict[str, Any]) -> list[str]:
    """The differences that make resuming impossible, each as "name: old -> new"."""
    found = []
    old, new = saved["train_kwargs"], asdict(config)
    for name in FIXED:
        # an older Backfill may lack the setting: it then had the default
        before, now = old.get(name, getattr(Config, name)), new[name]
        if name == "seed":
            before = saved["backfill"]["place"]["seed"]
            now = config.seed if config.seed >= 0 else before
        if name == "arch":
            before, now = before.removesuffix("_small"), now.removesuffix("_small")
        if before != now:
            found.append(f"--{name.replace('_', '-')}: {before} -> {now}")
    before = saved["backfill"]["data"]
    if before["fingerprint"] != data["fingerprint"] and not config.accept_data:
        found.append(
            f"training data: {describe_size(before)} -> {describe_size(data)}, --accept-data continues with it"
        )
    return found


def describe_size(data: dict[str, Any]) -> str:
    """The size of the dataset of a checkpoint, in words."""
    records, excluded = sum(row[2] for row in data["shards"]), sum(len(row) - 3 for row in data["shards"])
    without = f" ({excluded} excluded)" if excluded else ""
    return f"{plural(len(data['shards']), 'shard')} with {plural(records, 'record')}{without} ({data['fingerprint']})"


def changed(saved: dict[str, Any], config: Config) -> list[str]:
    """The settings that differ from the checkpoint's and may be changed on resume."""
    ignored = {*FIXED, "resume", "reset_state", "accept_data", "checkpoint_file", "model_dir", "data_dir"}
    old, new = saved["train_kwargs"], asdict(config)  # an older Backfill may have had fewer settings
    free = [name for name in new if name in old and name not in ignored]
    return [f"{name}: {old[name]} -> {new[name]}" for name in free if old[name] != new[name]]


def moved_records(before: list[list], now: list[list]) -> np.ndarray:  # -> int64 (old N)
    """The new number of every old record, -1 for those that are excluded and those of removed shards."""
    numbers, start = {}, 0  # by shard, of all records of its tar
    for name, sha256, count, *left_out in now:
        numbers[name, sha256] = np.full(count + len(left_out), -1)
        numbers[name, sha256][included_numbers(count, left_out)] = start + np.arange(count)
        start += count
    parts = [
        numbers[name, sha256][included_numbers(count, left_out)] if (name, sha256) in numbers else np.full(count, -1)
        for name, sha256, count, *left_out in before
    ]
    return np.concatenate(parts)


def included_numbers(count: int, left_out: list[int]) -> np.ndarray:  # -> int64 (count)
    """The numbers within their tar of the `count` records of a shard that are not excluded."""
    return np.delete(np.arange(count + len(left_out)), left_out)


def as_payload(position: Position, data: dict[str, Any], **states: dict | None) -> dict[str, Any]:
    """The value of the key `backfill` in a checkpoint."""
    return {"version": VERSION, "place": asdict(position), "data": data, **states}
