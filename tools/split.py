"""Moves records from train/ to eval/. No record is lost, whenever it is stopped.

For every shard with records to move, first a shard with those is published in eval/, then the shard is written again
without them, beside the old one, and replaces it. If the program is killed between these steps, a record may be in both
splits or twice in train/, never in none; running the same command again finishes the work. Excluded records stay in
train/.
"""

import hashlib
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pack.shards.exclusion import leave_out, listed_keys
from pack.shards.index import Index
from pack.shards.shard import list_shards
from pack.shards.store import list_folder
from tools import cli
from tools.cli import UserError, plural, quoted
from tools.cli.files import locked_folder
from tools.copying.moving import finish, identity, move, read_entry

VIDEO = re.compile(r"(?:.*_)?([0-9a-f]{8})_\d+_\d+")  # ..._{FILE_HASH}_{SEQUENCE_NO}_{CROP}


@dataclass(frozen=True)
class Config:
    """Move records from DATA/train to DATA/eval until eval has --num-samples moved records."""

    ALIASES: ClassVar = {"data_dir": ("-i",)}
    data_dir: str = "data"  # dataset folder: has train/, eval/ is created
    num_samples: int = 200  # total number of moved records in eval/, including those of earlier runs
    by: Literal["record", "video"] = "record"  # video: move whole videos until eval/ has at least --num-samples
    # records, so that the splits share no video and evaluation measures unseen scenes
    seed: int = 71  # random seed of the selection

    def __post_init__(self):
        if self.num_samples < 1:
            raise UserError(f"--num-samples {self.num_samples}: expected 1 or more")


def main():
    run(cli.parse(Config))


def run(config: Config) -> None:
    """Move records of a dataset, of which no other program moves records at the same time."""
    data = Path(config.data_dir)
    list_folder(data / "train")  # raises MissingFile
    check_folders(data)
    with locked_folder(data, wait=False) as alone:
        if not alone:
            raise UserError(f"{data}: another split.py moves its records: wait for its end, then start again")
        split(data / "train", data / "eval", config)


def split(train: Path, held: Path, config: Config) -> None:
    """Move records from `train` to `held`, after what a killed run left was completed."""
    check_apart(train, held)
    finish(train, held)
    shards = list_shards(train)
    held_shards = list_shards(held) if any(held.glob("*.json")) else []
    copies, excluded = find_copies(shards, held_shards), listed_keys(train)
    chosen = choose([leave_out(shard, excluded) for shard in shards], held_shards, config)
    progress = cli.Progress(len(shards), "shards", "split")
    for number, shard in enumerate(shards):
        move(shard, held, chosen, copies, {"moved_from": train.name, "moved_by": config.by})
        progress.update(number + 1)
    progress.close()
    before = moved_records(held_shards, config.by)
    left = sum(len(shard.records) for shard in shards) - len(chosen) - len(copies)
    print(f"{held}: {plural(before, 'record')} moved earlier, {len(chosen)} now; {left} left in {train}")


def check_folders(data: Path) -> None:
    """Raise UserError where train/ or eval/ is a link to the dataset folder itself, or to nothing."""
    for split in (data / "train", data / "eval"):
        if split.exists() and split.samefile(data):
            raise UserError(f"{split}: is {data} itself by a link, expected a folder of its own: remove the link")
        if split.is_symlink() and not split.exists():
            raise UserError(f"{split}: is a link to {split.readlink()}, which is missing: remove the link")


def check_apart(train: Path, held: Path) -> None:
    """Raise UserError where a shard of eval/ is a link to one of train/: its records are there once, not twice."""
    ours = {(found.st_dev, found.st_ino): path for path, found in stats(train)}
    for path, found in stats(held):
        if (found.st_dev, found.st_ino) in ours:
            raise UserError(
                f"{path}: is the same file as {ours[found.st_dev, found.st_ino]}, so records that are moved would be "
                f"lost: replace it by a copy, or remove it"
            )


def stats(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """The tars of a folder that can be read, and what the file system says of them."""
    return [(path, path.stat()) for path in sorted(folder.glob("*.tar")) if path.exists()]


def find_copies(shards: Iterable[Index], held_shards: Iterable[Index]) -> set[str]:
    """Keys of the records that eval/ has too, because moving them was stopped: these are only to be removed.

    Raises UserError where the two are not the same record, or the one in eval/ cannot be read.
    """
    held = {entry.key: (shard, entry) for shard in held_shards for entry in shard.records}
    copies = set()
    for shard in shards:
        for entry in shard.records:
            if entry.key not in held:
                continue
            other_shard, other = held[entry.key]
            if identity(other) != identity(entry):
                raise UserError(
                    f"{shard.tar}: record {entry.key} differs from that of the same key in eval/: "
                    f"pack one of them again with another --prefix, or remove its shard"
                )
            read_entry(other_shard, other)
            copies.add(entry.key)
    return copies


def moved_records(held_shards: Iterable[Index], by: str) -> int:
    """The number of records that were moved to eval/. Raises UserError where they were selected with another --by."""
    moved = [shard for shard in held_shards if "moved_by" in shard.source]
    for shard in moved:
        if shard.source["moved_by"] != by:
            earlier = quoted(shard.source["moved_by"])
            raise UserError(
                f"{shard.tar}: was moved with --by {earlier}, --by {by} cannot be combined with it: "
                f"pass that again, or move eval/ back into train/ first"
            )
    return sum(len(shard.records) for shard in moved)


def choose(shards: list[Index], held_shards: list[Index], config: Config) -> set[str]:
    """Keys of the records to move. They depend on the keys and the seed alone.

    Raises UserError where that would leave no record to train on.
    """
    held = {entry.key for shard in held_shards for entry in shard.records}
    groups = defaultdict(list)
    for key in (entry.key for shard in shards for entry in shard.records if entry.key not in held):
        groups[video_of(key) if config.by == "video" else key].append(key)
    missing = config.num_samples - moved_records(held_shards, config.by)
    begun = {video_of(key) for key in held} if config.by == "video" else set()  # a video that was moved in part
    chosen: set[str] = set()
    for name in sorted(groups, key=lambda name: (name not in begun, rank(config.seed, name))):
        if len(chosen) < missing or name in begun:
            chosen.update(groups[name])
    available = sum(map(len, groups.values()))
    if len(chosen) < missing or (chosen and len(chosen) == available):
        videos = f" of {plural(len(groups), 'video')}" if config.by == "video" else ""
        raise UserError(
            f"{shards[0].tar.parent}: has {plural(available, 'record')}{videos}, moving {max(missing, len(chosen))} "
            f"would leave none to train on: pass a smaller --num-samples, or pack more videos"
        )
    return chosen


def video_of(key: str) -> str:
    """The part that the keys of all records of one video share: the hash of its file name."""
    match = VIDEO.fullmatch(key)
    return match[1] if match else key


def rank(seed: int, name: str) -> bytes:
    """A sort key that puts names in a random order, independent of which other names there are."""
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


if __name__ == "__main__":
    cli.run(main)
