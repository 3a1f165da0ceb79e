"""The sources of the records: one dataset or a mixture of several, in folders, object stores and on web servers."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from braceexpand import braceexpand

from pack.shards.cache import Cache
from pack.shards.exclusion import leave_out_listed, refuse_empty
from pack.shards.index import Index
from pack.shards.location import SPLITS, Location, parse_location, pointing_up
from pack.shards.shard import list_shards, read_shards
from tools.cli import MissingFile, UserError, quoted
from tools.cli.sizes import parse_size
from train.config import Config
from train.data.records import Records
from train.data.samples import Samples

MOST_SHARDS = 1_000_000  # that one list may name
LONGEST_LIST = 1 << 20  # characters


@dataclass(frozen=True)
class Source:
    """A folder or prefix with the splits train/ and eval/, or a list of their tars, and its share of the samples."""

    location: Location
    weight: float = 1.0
    tars: tuple[Location, ...] = ()  # of a list with braces; the last folder of each is its split


def parse_sources(text: str) -> list[Source]:
    """The sources of `SOURCE*WEIGHT,SOURCE*WEIGHT`; the default weight is 1. Raises UserError."""
    if Path(text).is_dir():  # a folder whose name has a comma or an asterisk
        return [Source(Path(text))]
    sources = [_parse_source(part.strip()) for part in re.split(r",(?![^{}]*\})", text)]  # commas outside of braces
    named = [str(name) for source in sources for name in source.tars or (source.location,)]
    if len(set(named)) < len(named):
        raise UserError(f"-i {text}: names the same source twice, expected each once with its total weight")
    return sources


def _parse_source(text: str) -> Source:
    name, asterisk, weight = text.rpartition("*")
    name = name if asterisk else text
    tars = () if Path(name).is_dir() else expand(name)
    location = tars[0].parent.parent if tars else parse_location(name)
    try:
        number = float(weight) if asterisk else 1.0
    except ValueError:
        number = math.nan
    if not (number > 0 and math.isfinite(number)) or not (tars or str(location).strip(".")):
        raise UserError(f"-i {location}: has the weight {weight or 1}, expected SOURCE*WEIGHT with a number above 0")
    return Source(location, number, tars)


def expand(text: str) -> tuple[Location, ...]:
    """The tars that a list names, as `https://host/{train,eval}/film-{00000..00041}.tar`, none for a folder or prefix.

    Raises UserError.
    """
    if not re.search("[{}]|[.]tar$", text):
        return ()
    # counted first, as braceexpand keeps the values of each pair of braces in memory
    ranges = re.findall(r"\{(-?\d+)\.\.(-?\d+)[}.]", text)
    too_long = len(text) > LONGEST_LIST or any(len(number) > 12 for pair in ranges for number in pair)
    too_many = too_long or math.prod(abs(int(last) - int(first)) + 1 for first, last in ranges) > MOST_SHARDS
    try:
        names = [] if too_many else list(islice(braceexpand(text, escape=False), MOST_SHARDS + 1))
    except (ValueError, RecursionError):  # braces without a partner, or too many within each other
        names = [text]
    if too_many or len(names) > MOST_SHARDS:
        raise UserError(f"-i {quoted(text)}: names more than {MOST_SHARDS} shards, expected fewer")
    if any(re.search("[{}]", name) for name in names):
        raise UserError(
            f"-i {quoted(text)}: does not expand, expected names as NAME-{{00000..00041}}.tar or {{a,b}}.tar"
        )
    tars = tuple(parse_location(name) for name in names)
    for tar in tars:
        if tar.suffix != ".tar" or tar.parent.name not in SPLITS:
            raise UserError(f"-i {text}: names {tar}, expected shards in a folder train/ or eval/: .../train/NAME.tar")
    return tars


def load_split(config: Config, split: str, excluded: frozenset[str] = frozenset()) -> Records:
    """The records of all sources, except those excluded by a split's list or by key; it prints what is excluded.

    Sources of a mixture may lack eval/, as long as one has it. Raises UserError, MissingFile or StoreError.
    """
    sources, parts = list_sources(config, split, excluded)
    for source, shards in zip(sources, parts, strict=True):
        refuse_empty(source.location / split, shards)
        Samples(Records(shards), config.frames, config.tile).check_fit()
    shares = [(len(shards), source.weight) for source, shards in zip(sources, parts, strict=True)]
    records = Records([shard for shards in parts for shard in shards], shares if len(sources) > 1 else ())
    if len(sources) > 1:
        check_keys(records)
    return records


def list_sources(config: Config, split: str, excluded: frozenset[str]) -> tuple[list[Source], list[list[Index]]]:
    """The sources that have the split, and the shards of each."""
    sources, parts, missing = [], [], []
    for source in parse_sources(config.data_dir):
        if not has_split(source, split):
            continue
        try:
            parts.append(list_split(source, split, excluded))
            sources.append(source)
        except MissingFile as error:
            if split == "train":
                raise
            missing.append((source, error))
    if not sources:
        hint = " or pass --skip-eval" if split == "eval" else ""
        nowhere = f"-i {config.data_dir}: names no shards in a folder {split}/, expected some: add them{hint}"
        raise missing[0][1] if missing else UserError(nowhere)
    for source, _ in missing:
        print(f"{source.location} has no {split}/: evaluating on the other sources", flush=True)
    return sources, parts


def has_split(source: Source, split: str) -> bool:
    """Whether a list names shards of the split; folders and prefixes are asked."""
    return not source.tars or any(tar.parent.name == split for tar in source.tars)


def list_split(source: Source, split: str, excluded: frozenset[str]) -> list[Index]:
    location = source.location / split
    if source.tars:
        return _listed(source.tars, split, excluded)
    if isinstance(location, Path) and not location.is_dir():
        expected = f"{source.location}/train and {source.location}/eval with shards"
        remedy = pointing_up(location) or f"make them with `make shards VIDEO=clip.mp4 OUT={location}`"
        raise MissingFile(f"{location}: no such folder, expected {expected}: {remedy}")
    shards, lines = leave_out_listed(location, list_shards(location), excluded)
    for line in lines:
        print(line, flush=True)
    return shards


def _listed(tars: Sequence[Location], split: str, excluded: frozenset[str]) -> list[Index]:
    """The shards of a list that belong to the split, without the records that the lists of their folders exclude."""
    shards = read_shards([tar for tar in tars if tar.parent.name == split])
    used = []
    for folder in sorted({shard.tar.parent for shard in shards}, key=str):
        inside = [shard for shard in shards if shard.tar.parent == folder]
        kept, lines = leave_out_listed(folder, inside, excluded)
        used += kept
        for line in lines:
            print(line, flush=True)
    return sorted(used, key=lambda shard: (shard.tar.name, str(shard.tar)))


def open_cache(config: Config, *splits: Records | None) -> Cache | None:
    """The cache of the configuration, if any. Raises UserError when these splits do not fit into it."""
    if not config.cache_dir or config.dry_run:
        return None
    cache = Cache(Path(config.cache_dir), parse_size("--cache-size", config.cache_size))
    cache.check([shard for records in splits if records for shard in records.shards])
    return cache


def check_keys(records: Records) -> None:
    """Raise UserError when two sources share a record, which would be drawn more often than its weight specifies."""
    order = np.argsort(records.keys, kind="stable")
    same = np.flatnonzero(records.keys[order[1:]] == records.keys[order[:-1]])
    if len(same):
        (first, entry), (second, _) = (records[int(order[same[0] + i])] for i in range(2))
        raise UserError(
            f"record {entry.key} is in {first.tar} and in {second.tar}: expected sources without common records: "
            f"remove one of them"
        )
