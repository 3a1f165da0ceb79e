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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pack.shards.exclusion import leave_out, listed_keys
from pack.shards.index import Entry, Index, index_path, read_index, write_index
from pack.shards.shard import ShardWriter, list_shards, published_sha256, read_record
from pack.shards.store import list_folder
from pack.shards.untrusted import CorruptRecord
from tools import cli
from tools.cli import UserError, plural, quoted
from tools.cli.files import file_sha256, locked_folder, remove_leftovers, whole_file

KEPT = ".kept"  # train/NAME.kept has the records that NAME keeps, until it replaces NAME
MARK = "takes_place_of"  # in the source of such a shard's index: the tar that it replaces, and its sha256
MOVED = ".moved"  # eval/NAME.moved has the records that were moved out of train/NAME
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
    config = cli.parse(Config)
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


def read_entry(shard: Index, entry: Entry) -> None:
    """Raise UserError where this record of eval/ cannot be read; then the one in train/ must stay."""
    try:
        read_record(shard, entry)
    except CorruptRecord as error:
        raise UserError(f"{shard.tar}: {error}: restore this shard, train/ has the record") from error


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


def move(shard: Index, held: Path, chosen: set[str], copies: set[str], note: dict[str, str]) -> None:
    """Move the chosen records of a shard to the folder `held`, and drop those that are there already."""
    moving = [entry for entry in shard.records if entry.key in chosen]
    kept = [entry for entry in shard.records if entry.key not in chosen | copies]
    if len(kept) == len(shard.records):
        return
    if moving:
        check_content(copy_records(shard, moving, free_path(held, shard.name + MOVED), shard.source | note))
    # an empty shard stays: packing the video again then still finds it packed
    mark = {MARK: {"tar": shard.tar.name, "sha256": shard.sha256}}
    tar = free_path(shard.path.parent, shard.name + KEPT)
    take_place(shard.path, copy_records(shard, kept, tar, shard.source | mark))


def check_content(shard: Index) -> None:
    """Raise UserError unless the tar, read again, has the sha256 of its index."""
    if file_sha256(shard.path) != shard.sha256:
        raise UserError(f"{shard.tar}: has another sha256 than its index says: check the disk, remove it, split again")


def copy_records(shard: Index, entries: list[Entry], tar: Path, source: dict) -> Index:
    """Publish some records of a shard as another shard."""
    with ShardWriter(tar) as writer:
        for entry in entries:
            try:
                writer.add(entry.key, read_record(shard, entry))
            except CorruptRecord as error:
                raise UserError(f"{shard.tar}: {error}: copy or pack the shard again, then split") from error
        return writer.publish(source, shard.config)


def free_path(folder: Path, name: str) -> Path:
    """`folder/NAME.tar`, with a number after the name where such a shard exists already."""
    tar, number = folder / f"{name}.tar", 1
    while index_path(tar).exists():
        number += 1
        tar = folder / f"{name}{number}.tar"
    return tar


def take_place(tar: Path, kept: Index) -> None:
    """Let the shard `kept` take the place of the one at `tar`; at every moment one of them is whole and published."""
    check_content(kept)  # before the other one is deleted
    with locked_folder(tar.parent):
        check_origin(tar, kept)
        index_path(tar).unlink(missing_ok=True)
        tar.unlink(missing_ok=True)
        link(kept.path, tar)
        source = {name: value for name, value in kept.source.items() if name != MARK}
        write_index(replace(kept, tar=tar, source=source))
    index_path(kept.path).unlink()
    kept.tar.unlink()


def check_origin(tar: Path, kept: Index) -> None:
    """Raise UserError where the shard at `tar` is not the one that `kept` was made of."""
    if published_sha256(tar) not in ("", kept.source[MARK].get("sha256"), kept.sha256):
        raise UserError(f"{kept.tar}: was made of another {tar.name} than there is now: remove one of the two")


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        with open(source, "rb") as reader, whole_file(target) as writer:
            while block := reader.read(1 << 24):
                writer.write(block)


def finish(train: Path, held: Path) -> None:
    """Complete what a killed run left unfinished."""
    for folder, word in ((train, KEPT), (held, MOVED)):
        if folder.is_dir():
            remove_leftovers(folder, rf".*{re.escape(word)}\d*\.(tar|json)")
    for path in sorted(train.glob(f"*{KEPT}*.json")):
        kept = read_index(path)
        if MARK in kept.source:
            tar = replaced_tar(train, kept)
            check_origin(tar, kept)
            check_complete(tar, kept, held)
            take_place(tar, kept)
    for tar in train.glob(f"*{KEPT}*.tar"):  # a second name of the shard that it replaced
        old = index_path(train / f"{tar.stem.rpartition(KEPT)[0]}.tar")
        if not index_path(tar).exists() and old.exists() and read_index(old).sha256 == file_sha256(tar):
            tar.unlink()


def replaced_tar(train: Path, kept: Index) -> Path:
    """The tar that `kept` is to replace. Raises UserError where its index does not say so."""
    mark = kept.source[MARK]
    name = kept.name.rpartition(KEPT)[0]
    if not isinstance(mark, dict) or mark.get("tar") != f"{name}.tar":
        raise UserError(f"{kept.tar}: its index does not say which shard it replaces: remove it or rename it")
    return train / f"{name}.tar"


def check_complete(tar: Path, kept: Index, held: Path) -> None:
    """Raise UserError unless each record of the shard at `tar` is in `kept`, or can be read in `held`.

    The mark of `kept` proves nothing: it may come from someone else's split, or eval/ may have been removed since.
    """
    old = read_index(index_path(tar)) if index_path(tar).exists() else kept
    moved = {identity(entry) for entry in old.records} - {identity(entry) for entry in kept.records}
    for shard in list_shards(held) if moved and any(held.glob("*.json")) else []:
        for entry in shard.records:
            if identity(entry) in moved:
                read_entry(shard, entry)
                moved.remove(identity(entry))
    if moved:
        raise UserError(
            f"{kept.tar}: is to replace {tar.name}, whose record {min(moved)[0]} is neither in it nor in eval/: "
            f"restore eval/, or remove {kept.tar.name} with its index"
        )


def identity(entry: Entry) -> tuple[str, int, int]:
    """What the same record has in every shard."""
    return entry.key, entry.length, entry.crc32


if __name__ == "__main__":
    cli.run(main)
