"""The sources of the records: one dataset or a mixture of several, in folders and object stores."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pack.shards.exclusion import leave_out_listed, left_out_keys
from pack.shards.index import Index
from pack.shards.shard import list_shards
from pack.shards.store import Location, parse_location
from tools.cli import MissingFile, UserError
from train.config import Config
from train.data.samples import Records, Samples


@dataclass(frozen=True)
class Source:
    """A folder or prefix with the splits train/ and eval/, and its share of the samples."""

    location: Location
    weight: float = 1.0


def parse_sources(text: str) -> list[Source]:
    """The sources of `SOURCE*WEIGHT,SOURCE*WEIGHT`; the default weight is 1. Raises UserError."""
    if Path(text).exists():  # a folder whose name has a comma or an asterisk
        return [Source(Path(text))]
    sources = [_parse_source(part.strip()) for part in text.split(",")]
    locations = [str(source.location) for source in sources]
    if len(set(locations)) < len(locations):
        raise UserError(f"-i {text}: names the same source twice, expected each once with its total weight")
    return sources


def _parse_source(text: str) -> Source:
    name, asterisk, weight = text.rpartition("*")
    location = parse_location(name if asterisk else text)
    try:
        number = float(weight) if asterisk else 1.0
    except ValueError:
        number = math.nan
    if not (number > 0 and math.isfinite(number)) or not str(location).strip("."):
        raise UserError(f"-i {location}: has the weight {weight or 1}, expected SOURCE*WEIGHT with a number above 0")
    return Source(location, number)


def load_split(config: Config, split: str, excluded: frozenset[str] = frozenset()) -> Records:
    """The records of all sources, except those excluded by a split's list or by key; it prints what is excluded.

    Sources of a mixture may lack eval/, as long as one has it. Raises UserError, MissingFile or StoreError.
    """
    sources, parts = list_sources(config, split, excluded)
    for source, shards in zip(sources, parts, strict=True):
        records = Records(shards)
        if not len(records):
            kind = "only excluded records: bring some back, or" if left_out_keys(shards) else "no records:"
            raise UserError(
                f"{source.location / split}: its shards hold {kind} pack videos with more depth or motion into it"
            )
        Samples(records, config.frames, config.tile).check_fit()
    shares = [(len(shards), source.weight) for source, shards in zip(sources, parts, strict=True)]
    records = Records([shard for shards in parts for shard in shards], shares if len(sources) > 1 else ())
    if len(sources) > 1:
        check_keys(records)
    return records


def list_sources(config: Config, split: str, excluded: frozenset[str]) -> tuple[list[Source], list[list[Index]]]:
    """The sources that have the split, and the shards of each."""
    sources, parts, missing = [], [], []
    for source in parse_sources(config.data_dir):
        try:
            parts.append(list_split(source, split, excluded))
            sources.append(source)
        except MissingFile as error:
            if split == "train":
                raise
            missing.append((source, error))
    if not sources:
        raise missing[0][1]
    for source, _ in missing:
        print(f"{source.location} has no {split}/: evaluating on the other sources", flush=True)
    return sources, parts


def list_split(source: Source, split: str, excluded: frozenset[str]) -> list[Index]:
    location = source.location / split
    if isinstance(location, Path) and not location.is_dir():
        raise MissingFile(
            f"{location}: no such folder, expected {source.location}/train and {source.location}/eval with shards: "
            f"make them with `make shards VIDEO=clip.mp4 OUT={location}`"
        )
    shards, lines = leave_out_listed(location, list_shards(location), excluded)
    for line in lines:
        print(line, flush=True)
    return shards


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
