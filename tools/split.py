"""Moves records from train/ to eval/; whenever it is stopped, none is lost.

For every shard with records to move, first a shard with those is published in eval/, then the shard is written anew
without them, beside the old one, and takes its place. Killed between, a record may be in both splits or twice in
train/, never in none; running the same command again finishes the work. Excluded records stay where they are excluded.
"""

import hashlib
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pack.shards.exclusion import leave_out, listed_keys
from pack.shards.index import Entry, Index, index_path, read_index, write_index
from pack.shards.shard import ShardWriter, list_shards, read_record
from pack.shards.untrusted import CorruptRecord
from tools import cli
from tools.cli import UserError
from tools.cli.files import whole_file

KEPT = ".kept"  # train/NAME.kept has what NAME keeps, until it takes NAME's place
MOVED = ".moved"  # eval/NAME.moved has what was moved out of train/NAME
VIDEO = re.compile(r"(?:.*_)?([0-9a-f]{8})_\d+_\d+")  # ..._{FILE_HASH}_{SEQUENCE_NO}_{CROP}


@dataclass(frozen=True)
class Config:
    """Move records from DATA/train to DATA/eval until eval has that many moved records."""

    ALIASES: ClassVar = {"data_dir": ("-i",)}
    data_dir: str = "data"  # folder that has train/ and gets eval/
    num_samples: int = 200  # moved records that eval/ has in the end; those of earlier runs count
    by: Literal["record", "video"] = "record"  # video: move whole videos until eval/ has at least --num-samples
    # records, so that the two splits share no video and evaluation measures on scenes that were never seen
    seed: int = 71  # of the choice

    def __post_init__(self):
        if self.num_samples < 1:
            raise UserError(f"--num-samples {self.num_samples}: expected 1 or more")


def main():
    config = cli.parse(Config)
    train, held = Path(config.data_dir) / "train", Path(config.data_dir) / "eval"
    finish(train, held)
    shards = list_shards(train)
    held_shards = list_shards(held) if any(held.glob("*.json")) else []
    copies = find_copies(shards, held_shards)
    chosen = choose([leave_out(shard, listed_keys(train)) for shard in shards], held_shards, config)
    progress = cli.Progress(len(shards), "shards", "split")
    for number, shard in enumerate(shards):
        move(shard, held, chosen, copies, {"moved_from": train.name, "moved_by": config.by})
        progress.update(number + 1)
    progress.close()
    before = moved_records(held_shards, config.by)
    left = sum(len(shard.records) for shard in shards) - len(chosen) - len(copies)
    print(f"{held}: {before} records were moved earlier, {len(chosen)} now; {left} stay in {train}")


def find_copies(shards: Iterable[Index], held_shards: Iterable[Index]) -> set[str]:
    """Keys of the records that eval/ has too, because moving them was stopped: these are only to be removed.

    Raises UserError where the two are not the same record.
    """
    held = {entry.key: entry for shard in held_shards for entry in shard.records}
    copies = set()
    for shard in shards:
        for entry in shard.records:
            other = held.get(entry.key)
            if other and (other.length, other.crc32) != (entry.length, entry.crc32):
                raise UserError(
                    f"{shard.tar}: record {entry.key} is another than that of the same key in eval/: "
                    f"pack one of them again with another --prefix, or remove its shard"
                )
            copies.update([entry.key] if other else [])
    return copies


def moved_records(held_shards: Iterable[Index], by: str) -> int:
    """How many records of eval/ were moved there. Raises UserError where they were chosen otherwise than `by`."""
    moved = [shard for shard in held_shards if "moved_by" in shard.source]
    for shard in moved:
        if shard.source["moved_by"] != by:
            raise UserError(
                f"{shard.tar}: was moved with --by {shard.source['moved_by']}, --by {by} does not go with it: "
                f"pass that again, or move eval/ back into train/ first"
            )
    return sum(len(shard.records) for shard in moved)


def choose(shards: list[Index], held_shards: list[Index], config: Config) -> set[str]:
    """Keys of the records to move, which follow from the keys and the seed alone.

    Raises UserError where that would leave nothing to train on.
    """
    held = {entry.key for shard in held_shards for entry in shard.records}
    groups = defaultdict(list)
    for key in (entry.key for shard in shards for entry in shard.records if entry.key not in held):
        groups[video_of(key) if config.by == "video" else key].append(key)
    missing = config.num_samples - moved_records(held_shards, config.by)
    begun = {video_of(key) for key in held} if config.by == "video" else set()  # a video that was moved in part
    chosen: set[str] = set()
    for name in sorted(groups, key=lambda name: (name not in begun, draw(config.seed, name))):
        if len(chosen) < missing or name in begun:
            chosen.update(groups[name])
    available = sum(map(len, groups.values()))
    if len(chosen) < missing or (chosen and len(chosen) == available):
        videos = f" of {len(groups)} videos" if config.by == "video" else ""
        raise UserError(
            f"{shards[0].tar.parent}: has {available} records{videos}, moving {max(missing, len(chosen))} would leave "
            f"none to train on: pass a smaller --num-samples, or pack more videos"
        )
    return chosen


def video_of(key: str) -> str:
    """What the keys of all records of one video have in common."""
    match = VIDEO.fullmatch(key)
    return match[1] if match else key


def draw(seed: int, name: str) -> bytes:
    """A number that puts names in a random order, whichever other names there are."""
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


def move(shard: Index, held: Path, chosen: set[str], copies: set[str], note: dict[str, str]) -> None:
    """Move the chosen records of a shard to the folder `held`, and drop those that are there already."""
    moving = [entry for entry in shard.records if entry.key in chosen]
    kept = [entry for entry in shard.records if entry.key not in chosen | copies]
    if len(kept) == len(shard.records):
        return
    if moving:
        copy_records(shard, moving, free_path(held, shard.name + MOVED), shard.source | note)
    # an empty shard stays: packing the video again then still finds it packed
    take_place(shard.tar, copy_records(shard, kept, shard.tar.with_name(shard.name + KEPT + ".tar"), shard.source))


def copy_records(shard: Index, entries: list[Entry], tar: Path, source: dict) -> Index:
    """Publish some records of a shard as another."""
    with ShardWriter(tar) as writer:
        for entry in entries:
            try:
                writer.add(entry.key, read_record(shard, entry))
            except CorruptRecord as error:
                raise UserError(f"{shard.tar}: {error}: copy or pack the shard again, then split") from error
        return writer.publish(source, shard.config)


def free_path(folder: Path, name: str) -> Path:
    """`folder/NAME.tar`, or with a number behind the name where that is published already."""
    tar, number = folder / f"{name}.tar", 1
    while index_path(tar).exists():
        number += 1
        tar = folder / f"{name}{number}.tar"
    return tar


def take_place(tar: Path, kept: Index) -> None:
    """Let the shard `kept` take the place of the one at `tar`; at every moment one of them is whole and published."""
    index_path(tar).unlink(missing_ok=True)
    tar.unlink(missing_ok=True)
    link(kept.tar, tar)
    write_index(replace(kept, tar=tar))
    index_path(kept.tar).unlink()
    kept.tar.unlink()


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        with open(source, "rb") as reader, whole_file(target) as writer:
            while block := reader.read(1 << 24):
                writer.write(block)


def finish(train: Path, held: Path) -> None:
    """Complete what a killed run left in the middle."""
    for path in [*train.glob(f"*{KEPT}.tar.*tmp"), *held.glob(f"*{MOVED}*.tar.*tmp")]:
        path.unlink()
    for tar in sorted(train.glob(f"*{KEPT}.tar")):
        if index_path(tar).exists():
            take_place(tar.with_name(tar.name.replace(f"{KEPT}.tar", ".tar")), read_index(index_path(tar)))
        else:  # the shard that it was to replace, or the one that replaced it, stands
            tar.unlink()


if __name__ == "__main__":
    cli.run(main)
