"""Moves records of a shard into a shard of another folder. A process that is killed loses none of them.

First a shard with those is published in the other folder, then the shard is written again without them, beside the old
one, and replaces it. `finish` completes what a killed process began.
"""

import os
import re
from dataclasses import replace
from pathlib import Path

from pack.shards.index import Entry, Index, index_path, read_index, write_index
from pack.shards.shard import ShardWriter, list_shards, published_sha256, read_record
from pack.shards.untrusted import CorruptRecord
from tools.cli import UserError
from tools.cli.files import file_sha256, locked_folder, remove_leftovers, whole_file

KEPT = ".kept"  # train/NAME.kept has the records that NAME keeps, until it replaces NAME
MARK = "takes_place_of"  # in the source of such a shard's index: the tar that it replaces, and its sha256
MOVED = ".moved"  # eval/NAME.moved has the records that were moved out of train/NAME


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


def read_entry(shard: Index, entry: Entry) -> None:
    """Raise UserError where this record of eval/ cannot be read; then the one in train/ must stay."""
    try:
        read_record(shard, entry)
    except CorruptRecord as error:
        raise UserError(f"{shard.tar}: {error}: restore this shard, train/ has the record") from error
