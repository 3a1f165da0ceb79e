"""Sizes a large job before anybody pays for it: bytes, requests, memory, and what breaks first."""

import json
import math
import pickle
import sys
import time
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli
from tools.cli import UserError

MIB, GIB = 2**20, 2**30


@dataclass(frozen=True)
class Config:
    """Size a job of many videos, records and GPUs: what is measured here is measured, the rest is arithmetic."""

    videos: int = 10_000  # each with a shard of its own
    records: int = 1_000_000  # of all videos
    record_bytes: int = 3_000_000  # of a record: 16 frames of 512x512 in lossless WebP take 1.8 to 4 MB
    gpus: int = 64  # training processes
    gpus_per_node: int = 8  # of a machine, which has one disk for the cache
    sequences_per_second: float = 10.0  # that one GPU trains on
    workers: int = 8  # processes that prepare samples, for each GPU
    num_samples: int = 20_000  # frames of an epoch, as --num-samples

    def __post_init__(self):
        for name, value in vars(self).items():
            if value <= 0:
                raise UserError(f"--{name.replace('_', '-')} {value}: expected more than 0")


def main() -> int:
    config = cli.parse(Config)
    rows = {**stored(config), **read(config), **measured(config)}
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:{width}}  {value}")
    return 0


def stored(config: Config) -> dict[str, str]:
    """Bytes of the shards, and what caches need."""
    total = config.records * config.record_bytes
    nodes = math.ceil(config.gpus / config.gpus_per_node)
    return {
        "shards": f"{total / GIB:,.0f} GiB in {config.videos:,} tars of {total / config.videos / MIB:,.0f} MiB",
        "cache that holds all": f"{total / GIB:,.0f} GiB on each of {nodes} nodes: every node draws from all shards",
        "cache that is worth it": f"only where an epoch comes back: {epochs_until_seen(config):,.0f} epochs see "
        f"{config.records:,} records once, so read ranges, or take --shuffle-shards",
    }


def epochs_until_seen(config: Config) -> float:
    return config.records / (config.num_samples // 12)


def read(config: Config) -> dict[str, str]:
    """What the store and the network carry while training."""
    rate = config.gpus * config.sequences_per_second
    node = config.gpus_per_node * config.sequences_per_second * config.record_bytes
    return {
        "reads from the store": f"{rate:,.0f} requests/s, {rate * config.record_bytes / 1e9:.1f} GB/s in all, "
        f"{8 * node / 1e9:.1f} Gbit/s into each node",
        "one reader": f"{config.sequences_per_second / config.workers:.1f} records/s for each worker, so one read may "
        f"take {1000 * config.workers / config.sequences_per_second:.0f} ms",
    }


def measured(config: Config) -> dict[str, str]:
    """Time and memory of what every process does before its first step, with indexes made up here."""
    from pathlib import Path as Folder

    from pack.shards.index import parse_index
    from train.data.plan import Plan, epoch_slots
    from train.data.samples import Records

    each = config.records // config.videos
    text = [index_text(number, each, config.record_bytes) for number in range(config.videos)]
    started = time.perf_counter()
    shards = [parse_index(data, Folder(f"s{number:06d}.json")) for number, data in enumerate(text)]
    parsed = time.perf_counter() - started
    started = time.perf_counter()
    records = Records(shards)
    grouped = time.perf_counter() - started
    slots = epoch_slots(config.num_samples, 12, config.gpus)
    started = time.perf_counter()
    Plan([each] * config.videos, slots, seed=1).records(1)
    planned = time.perf_counter() - started
    size, kept = sum(map(len, text)), len(pickle.dumps(records))  # what a worker is sent
    workers = config.gpus_per_node * config.workers
    return {
        "indexes": f"{size / MIB:,.0f} MiB in {config.videos:,} requests by the first process, "
        f"which tells the others; parsed in {parsed:.1f} s",
        "records in memory": f"{len(records):,} in {kept / MIB:,.0f} MiB, {grouped:.1f} s; workers that read a store "
        f"hold a copy each, {workers * kept / GIB:,.1f} GiB on a node, forked ones share it",
        "plan of an epoch": f"{slots:,} slots in {planned:.2f} s",
        "what breaks first": "the network into a node, which a --cache-dir on fast disks or fewer GPUs a node relieve; "
        "at ten times the records the first process reads and parses indexes for minutes before the first step",
    }


def index_text(number: int, records: int, record_bytes: int) -> bytes:
    """The index of a shard, as pack.shards.shard writes it."""
    entries = [
        {"key": f"film_Any_V2_S_{number:08x}_{i}_0", "offset": i * record_bytes, "length": record_bytes, "crc32": 7**9}
        for i in range(records)
    ]
    fields = {"format": "backfill shard", "version": 1, "tar": f"s{number:06d}.tar", "bytes": records * record_bytes}
    fields |= {"sha256": "0" * 64, "records": entries, "source": {}, "config": {}}
    return json.dumps(fields, indent=1).encode()


if __name__ == "__main__":
    cli.run(main)
