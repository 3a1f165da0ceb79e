"""Copies splits between folders and object stores: only missing shards, each tar verified before its index is written.

The destination has a shard when its index there is identical and its tar has the size that the index states. A tar
without an index was not copied completely: it is read back before it is accepted. Another shard of the same name is
replaced only with --overwrite, and only after the new one was verified.
"""

import contextlib
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pack.shards.exclusion import LIST, as_text, keys_on, listed_keys, read_lines
from pack.shards.index import LARGEST_INDEX, Index
from pack.shards.location import Location, RemotePath, parse_location
from pack.shards.shard import list_shards
from pack.shards.store import list_files, read_bytes, sha256_at, use_endpoint
from tools import cli
from tools.cli import MissingFile, UserError, plural
from tools.cli.files import locked_folder
from tools.copying.publishing import Publication, look, publish_index, remove, stamp_of, write_small
from tools.copying.upload import LEAST_PART, leftovers, write_tar

A_BUCKET = "a bucket is written s3://BUCKET/PREFIX"


@dataclass(frozen=True)
class Config:
    """Copy shards from one folder or object store to another; a killed copy resumes when started again."""

    ALIASES: ClassVar = {"source": ("-i",), "destination": ("-o",)}

    destination: str  # folder or URL to copy to
    source: str = "data"  # folder or URL of a dataset, or of one split
    split: tuple[str, ...] = ()  # splits to copy (default: all splits of the source)
    jobs: int = 4  # number of tars copied in parallel
    part_bytes: int = 16 << 20  # bytes per request; a resumed copy sends at most one part of each tar again
    read_back: bool = False  # read every copied tar back from the destination and compare its sha256
    overwrite: bool = False  # replace shards of the destination that differ from the source's shard of the same name
    delete: bool = False  # list shards of the destination that the source does not have; with --yes, delete them
    yes: bool = False  # with --delete: delete them
    endpoint_url: str = ""  # URL of an S3 server other than Amazon's (default: AWS_ENDPOINT_URL)

    def __post_init__(self):
        if self.jobs < 1:
            raise UserError(f"--jobs {self.jobs}: expected 1 or more")
        if self.part_bytes < LEAST_PART:
            raise UserError(f"--part-bytes {self.part_bytes}: expected {LEAST_PART} or more, the smallest of S3")
        if self.yes and not self.delete:
            raise UserError("--yes only works together with --delete: pass both")


@dataclass(frozen=True)
class Split:
    """A split on both sides."""

    source: Location
    destination: Location
    lacking: tuple[Index, ...]  # shards that the destination does not have
    differing: tuple[Index, ...]  # shards of which it has another one of the same name
    present: tuple[Index, ...]  # shards that it has
    sizes: dict[str, int]  # bytes of the destination's files by name
    extra: tuple[str, ...]  # tars and indexes there that the source does not have, indexes first


class Tally:
    """Bytes that arrived, counted over several threads."""

    def __init__(self, total: int):
        self.progress = cli.Progress(round(total / 1e6), "MB", "copy")
        self.bytes, self.lock, self.stopped = 0, threading.Lock(), threading.Event()

    def add(self, count: int) -> None:
        if self.stopped.is_set():
            raise UserError("the copy was stopped")
        with self.lock:
            self.bytes += count
            self.progress.update(round(self.bytes / 1e6))


def main() -> int:
    config = cli.parse(Config)
    use_endpoint(config.endpoint_url)
    source, destination = parse_location(config.source), parse_location(config.destination)
    check_apart(source, destination)
    splits = [compare(at(source, name), at(destination, name)) for name in config.split or find_splits(source)]
    if not config.overwrite:
        check_same(splits)
    if isinstance(source, Path) and isinstance(destination, Path):  # of a bucket, s3:// may have been forgotten
        print(f"{destination}: is a local folder ({destination.absolute()}); {A_BUCKET}", flush=True)
    copy(splits, config)
    remove_leftovers(splits)
    excluded = sum(copy_list(split) for split in splits)
    copied = [shard for split in splits for shard in split.lacking + split.differing]
    present = sum(len(split.present) for split in splits)
    size = sum(shard.bytes for shard in copied)
    print(f"{destination}: got {plural(len(copied), 'shard')} with {size / 1e6:.1f} MB, had {present} already")
    if excluded:
        verb = "is" if excluded == 1 else "are"
        print(f"{destination}: {plural(excluded, 'more record')} {verb} excluded, as in {source}")
    if config.delete:
        delete(splits, config.yes)
    return 0


def at(dataset: Location, name: str) -> Location:
    return dataset / name if name else dataset


def check_apart(source: Location, destination: Location) -> None:
    """Raise UserError when the destination is the source or inside it."""
    ours, theirs = (
        (side.resolve().as_posix() if isinstance(side, Path) else str(side)) + "/" for side in (source, destination)
    )
    if theirs.startswith(ours):
        raise UserError(f"{destination}: is inside the source {source}: expected a folder or prefix of its own")


def find_splits(source: Location) -> list[str]:
    """The names of the splits in a dataset; the empty name when it is itself one. Raises MissingFile."""
    if isinstance(source, Path):
        names = [path.relative_to(source).as_posix() for path in [*source.glob("*.json"), *source.glob("*/*.json")]]
    else:
        names = [name for name in list_files(source) if name.endswith(".json") and name.count("/") < 2]
    splits = sorted({name.rpartition("/")[0] for name in names})
    if not splits:
        is_missing = isinstance(source, Path) and not source.exists()
        found = f"no such local folder ({A_BUCKET})" if is_missing else "holds no shard"
        raise MissingFile(f"{source}: {found}, expected NAME.tar with NAME.json, or splits of them")
    return splits


def compare(source: Location, destination: Location) -> Split:
    """The shards of a split that the destination has, lacks, or has others of. Raises what `list_shards` raises."""
    shards = list_shards(source)
    sizes = {name: size for name, size in list_files(destination).items() if "/" not in name}

    def state(shard: Index) -> str:
        index = f"{shard.name}.json"
        if index not in sizes:
            return "lacking"
        try:
            found = read_bytes(destination / index, LARGEST_INDEX)
        except FileNotFoundError:  # another copy is replacing it
            return "lacking"
        if read_bytes(source / index, LARGEST_INDEX) != found:
            return "differing"
        return "present" if sizes.get(shard.tar.name) == shard.bytes else "lacking"

    with ThreadPoolExecutor(16) as pool:
        states = list(pool.map(state, shards))
    ours = {shard.name for shard in shards}
    extra = [name for name in sizes if Path(name).suffix in (".json", ".tar") and Path(name).stem not in ours]

    def those(wanted: str) -> tuple[Index, ...]:
        pairs = zip(shards, states, strict=True)
        return tuple(replace(shard, records=()) for shard, found in pairs if found == wanted)

    extra.sort(key=lambda name: (Path(name).suffix, name))
    return Split(source, destination, those("lacking"), those("differing"), those("present"), sizes, tuple(extra))


def check_same(splits: Iterable[Split]) -> None:
    """Raise UserError when the destination has another shard under a name of the source's."""
    others = [split.destination / shard.tar.name for split in splits for shard in split.differing]
    if others:
        more = f", as are {len(others) - 1} more" if len(others) > 1 else ""
        raise another(others[0], more)


def another(tar: Location, more: str = "") -> UserError:
    return UserError(
        f"{tar}: is another shard than the source's of the same name{more}: pass --overwrite to replace it, or copy to "
        f"another destination"
    )


def copy(splits: Iterable[Split], config: Config) -> None:
    """Copy the missing and the differing shards, several at once; the first failure stops all of them."""
    work = [(split, shard) for split in splits for shard in split.lacking + split.differing]
    tally = Tally(sum(shard.bytes for _, shard in work))
    with ThreadPoolExecutor(config.jobs) as pool:
        running = [pool.submit(copy_shard, split, shard, config, tally) for split, shard in work]
        try:
            done, _ = wait(running, return_when=FIRST_EXCEPTION)
        finally:
            tally.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
    tally.progress.close()
    failures = [future.exception() for future in done if not future.cancelled() and future.exception()]
    if failures:
        raise failures[0]


def copy_shard(split: Split, shard: Index, config: Config, tally: Tally) -> None:
    """Copy a tar, and its index when the tar has arrived whole."""
    tar, index = split.destination / shard.tar.name, split.destination / f"{shard.name}.json"
    data = read_bytes(split.source / index.name, LARGEST_INDEX)

    @contextlib.contextmanager
    def publishing() -> Iterator[Publication]:
        with alone_in(split.destination):
            publication, published = look(tar)
            if not config.overwrite and published not in ("", shard.sha256):
                raise another(tar)  # it has arrived since this program listed the destination
            if isinstance(tar, Path) or index.name in split.sizes:
                remove(index)  # an old index must never vouch for a new tar
            yield publication
            if config.read_back and sha256_at(tar, shard.bytes) != shard.sha256:
                raise UserError(f"{tar}: what was read back has another sha256 than its index says: copy it again")
            if isinstance(tar, Path):
                write_small(index, data)
            else:
                publish_index(shard, tar, data, publication.written)

    before = stamp_of(tar) if isinstance(tar, RemotePath) and tar.name in split.sizes else None
    if split.sizes.get(tar.name) == shard.bytes and sha256_at(tar, shard.bytes) == shard.sha256:
        with publishing() as publication:
            publication.written = before or {}
            tally.add(shard.bytes)  # the copy was killed between tar and index
    else:
        write_tar(shard, tar, config.part_bytes, tally.add, publishing)


def alone_in(folder: Location) -> contextlib.AbstractContextManager:
    """Inside the block no other program publishes in the folder, so that no tar meets the index of another one."""
    return locked_folder(folder) if isinstance(folder, Path) else contextlib.nullcontext()


def remove_leftovers(splits: Iterable[Split]) -> None:
    """Delete what copies that were killed before this one began have left of shards that have now arrived."""
    for split in splits:
        if isinstance(split.destination, RemotePath):
            tars = [shard.tar.name for shard in split.lacking + split.differing + split.present]
            for name in leftovers(split.sizes, tars):
                remove(split.destination / name)


def copy_list(split: Split) -> int:
    """Exclude at the destination the records that the source excludes; returns how many records that adds.

    The destination keeps its own entries: what a person entered there must not be lost.
    """
    listed, path = listed_keys(split.source), split.destination / LIST
    if not listed:
        return 0
    with alone_in(split.destination):  # a person may be excluding records on the page
        try:
            lines = read_lines(path)
        except FileNotFoundError:
            lines = []
        if lacking := listed - keys_on(lines):
            write_small(path, as_text([*lines, *sorted(lacking)]))
    return len(lacking)


def delete(splits: Iterable[Split], yes: bool) -> None:
    """Delete shards that the source does not have, or only list them."""
    for split in splits:
        for name in split.extra:
            print(f"{'deleted' if yes else 'would delete'} {split.destination / name}")
            if yes:
                remove(split.destination / name)
    if not yes and any(split.extra for split in splits):
        print("nothing was deleted: add --yes to delete them")


if __name__ == "__main__":
    cli.run(main)
