"""Checks of shards against their indexes: where each fault is, and what fixes it."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from pack.shards.images.image_file import decode_image
from pack.shards.index import Entry, Index, read_index
from pack.shards.record import MASK_LEVELS, image_members, parse_info
from pack.shards.shard import check_size, read_record
from pack.shards.tar_layout import END
from pack.shards.untrusted import CorruptRecord
from tools import cli
from tools.cli import MissingFile, UserError, is_shortage, one_line
from tools.cli.files import file_sha256
from tools.cli.signals import starting_workers

COPY = "copy or pack the shard again"
REPACK = "pack the shard again"


@dataclass(frozen=True)
class Report:
    """The result of checking one shard."""

    name: str
    faults: tuple[str, ...]
    keys: tuple[str, ...] = ()
    bytes: int = 0
    holes: tuple[float, ...] = ()  # percentage of hidden pixels of each record that could be decoded


@dataclass(frozen=True)
class RecordReport:
    """The result of checking one record."""

    faults: tuple[str, ...]
    holes: float | None = None  # percentage of hidden pixels


def verify_shard(path: Path, fast: bool = False) -> list[str]:
    """The faults of the shard whose tar or index is at `path`, one line each."""
    return list(check_shard(path, fast).faults)


def check_splits(folders: list[Path], fast: bool = False, workers: int | None = None) -> list[Report]:
    """Reports on every shard of these folders, on other files in them, and on keys that several shards have.

    Raises MissingFile when a folder is missing or has neither tar nor index, UserError where one is given twice.
    """
    check_once(folders)
    paths = [path for folder in folders for path in list_indexes(folder)]
    progress = cli.Progress(sum(count_records(path) for path in paths), "records", "verify")
    with ProcessPoolExecutor(workers) as pool:

        def each(check: Callable, entries: Iterable[Entry]) -> Iterator[RecordReport]:
            with starting_workers():  # by the first of these calls
                results = pool.map(check, entries, chunksize=4)
            return counted(results, progress)

        reports = [check_shard(path, fast, each) for path in paths]
    progress.close()
    return reports + [left for folder in folders for left in unfinished(folder)] + repeated_keys(reports)


def check_once(folders: list[Path]) -> None:
    """Raise UserError where a folder is given twice, also by a link: its shards would be taken for copies."""
    there = [folder for folder in folders if folder.is_dir()]
    for first, other in itertools.combinations(there, 2):
        if other.samefile(first):
            raise UserError(f"{other} is the same folder as {first}: pass each split once")


def counted(results: Iterator[RecordReport], progress: cli.Progress) -> Iterator[RecordReport]:
    for result in results:
        progress.update(progress.done + 1)
        yield result


def check_shard(path: Path, fast: bool = False, each: Callable = map) -> Report:
    """The report on the shard at `path`; `each` maps over its records, perhaps in several processes."""
    try:
        index = read_index(path.with_suffix(".json"))
    except FileNotFoundError:
        return Report(str(path), (f"{path}: has no index, so it was never finished: {COPY}, or remove it",))
    except (OSError, UserError) as error:
        if is_shortage(error):
            raise
        return Report(str(path), (one_line(error),))
    report = Report(str(index.tar), tuple(layout_faults(index)), tuple(entry.key for entry in index.records))
    try:
        check_size(index)
    except UserError as error:
        report = replace(report, faults=(*report.faults, str(error)))
        if not index.tar.exists() or not index.tar.stat().st_size:  # every record would report the same
            return report
    report = replace(report, bytes=index.tar.stat().st_size)
    return report if fast else check_content(report, index, each)


def check_content(report: Report, index: Index, each: Callable) -> Report:
    """The report, completed by reading the whole tar."""
    results = each(partial(check_record, replace(index, records=())), index.records)
    faults = [*report.faults, *tar_faults(index)]  # the sha256 is computed while other processes decode
    results = list(results)
    faults += [fault for result in results for fault in result.faults]
    return replace(report, faults=tuple(faults), holes=tuple(r.holes for r in results if r.holes is not None))


def layout_faults(index: Index) -> Iterator[str]:
    """Gaps between the ranges of an index, and ranges that end behind the tar's content."""
    end = 0
    for entry in index.records:
        if entry.offset != end:
            yield (
                f"{index.tar} record {entry.key}: its range begins at byte {entry.offset}, expected {end}, "
                f"where the one before it ends: {COPY}"
            )
        end = entry.offset + entry.length
    if end + END > index.bytes:
        yield (
            f"{index.tar}: its index says {index.bytes} bytes, expected {end + END} or more "
            f"for its {len(index.records)} records: {COPY}"
        )


def tar_faults(index: Index) -> Iterator[str]:
    """A sha256 other than the index's, and data behind the last record."""
    try:
        found = file_sha256(index.path)
    except (OSError, UserError) as error:
        if is_shortage(error):
            raise
        yield f"{index.tar}: cannot be read ({error}): {COPY}"
        return
    if found != index.sha256:
        yield f"{index.tar}: found sha256 {found[:12]}, its index says {index.sha256[:12]}: {COPY}"
    end = index.records[-1].offset + index.records[-1].length if index.records else 0
    with open(index.path, "rb") as file:
        file.seek(end)
        while block := file.read(1 << 20):
            if block.strip(b"\0"):
                yield f"{index.tar}: found data behind byte {end}, where the last record of its index ends: {COPY}"
                return


def check_record(shard: Index, entry: Entry) -> RecordReport:
    """The report on one record of a shard."""
    place = f"{shard.tar} record {entry.key}"
    try:
        members = read_record(shard, entry)
        colours, masks = image_members(entry.key, members)
    except (OSError, UserError) as error:
        if is_shortage(error):
            raise
        reason = one_line(error).removeprefix(f"record {entry.key}: ").removesuffix(f": {COPY} its shard again")
        return RecordReport((f"{place}: {reason}: {COPY}",))
    faults, images = [], {}
    try:
        parse_info(entry.key, members["json"])
    except CorruptRecord:
        faults.append(f"{place}: its json does not parse as an object: {REPACK}")
    for name in colours + masks:
        try:
            images[name] = decode_image(members[name], "RGB" if name in colours else "L")
        except CorruptRecord as error:
            reason = str(error).removeprefix("cannot be decoded ").strip("()")
            faults.append(f"{place} {name}: cannot be decoded ({reason}): {REPACK}")
    faults += image_faults(place, images, masks)
    if faults:
        return RecordReport(tuple(faults))
    holes = 100 * float(np.mean([(images[name] > 0).mean() for name in masks]))
    if holes in (0, 100):
        faults.append(f"{place}: found {holes:.0f} % of its pixels hidden, expected some but not all: {REPACK}")
    return RecordReport(tuple(faults), holes)


def image_faults(place: str, images: dict[str, np.ndarray], masks: list[str]) -> Iterator[str]:
    """Images that differ in size, and masks with values other than MASK_LEVELS."""
    first = next(iter(images), "")
    for name, image in images.items():
        if image.shape[:2] != images[first].shape[:2]:
            yield f"{place} {name}: has {size(image)} pixels, {first} has {size(images[first])}: {REPACK}"
    for name in masks:
        other = images[name][~np.isin(images[name], MASK_LEVELS)] if name in images else ()
        if len(other):
            yield f"{place} {name}: found the value {other[0]}, expected one of {MASK_LEVELS}: {REPACK}"


def size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def unfinished(folder: Path) -> list[Report]:
    """Tars without an index, and temporary files that a killed program left."""
    reports = []
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        if path.suffix == ".tar" and not path.with_suffix(".json").exists():
            fault = f"{path}: has no index, so it was never finished: run the program that wrote it again, or remove it"
        elif path.suffix == ".tmp":
            fault = f"{path}: was left half-written: run the program that wrote it again, or remove it"
        else:
            continue
        reports.append(Report(str(path), (fault,), bytes=path.stat().st_size))
    return reports


def repeated_keys(reports: list[Report]) -> list[Report]:
    """Records in more than one shard: training would see them twice, or evaluation what was trained on."""
    places: dict[str, list[str]] = {}
    for report in reports:
        for key in dict.fromkeys(report.keys):
            places.setdefault(key, []).append(report.name)
    faults = [
        f"{names[1]} record {key}: is in {names[0]} too: if tools/split.py was stopped, run it again, "
        f"else remove one of the two shards"
        for key, names in places.items()
        if len(names) > 1
    ]
    return [Report("between shards", tuple(faults))] if faults else []


def list_indexes(folder: Path) -> list[Path]:
    """The indexes in a folder by name, readable or not."""
    if not folder.is_dir():
        advice = "name a split with -i; for shards in a store, run make pull first"
        raise MissingFile(f"{folder}: no such folder, expected shards: {advice}")
    paths = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))
    if not paths and not any(folder.glob("*.tar*")):
        raise MissingFile(f"{folder}: holds no shard, expected NAME.tar with NAME.json: name a split with -i")
    return paths


def count_records(path: Path) -> int:
    """The number of records in an index; 0 when it cannot be read, which its own check reports."""
    try:
        return len(read_index(path).records)
    except (OSError, UserError):
        return 0
