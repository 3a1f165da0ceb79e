"""Estimates a large job before it is paid for: bytes, requests, memory, and the first bottleneck."""

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
from tools.cli import UserError, plural

MIB, GIB = 2**20, 2**30


@dataclass(frozen=True)
class Config:
    """Estimate a job of many videos, records and GPUs: start-up is measured here, the rest is calculated."""

    videos: int = 10_000  # number of videos, one shard each
    records: int = 1_000_000  # number of records in all videos
    record_bytes: int = 3_000_000  # bytes per record: 16 frames of 512x512 in lossless WebP take 1.8 to 4 MB
    gpus: int = 64  # number of GPUs, one training process each
    gpus_per_node: int = 8  # number of GPUs of one machine, which share a disk for the cache
    sequences_per_second: float = 10.0  # training speed of one GPU
    workers: int = 8  # number of data workers per GPU
    num_samples: int = 20_000  # frames per epoch, as --num-samples of training

    def __post_init__(self):
        for name, value in vars(self).items():
            if value <= 0:
                raise UserError(f"--{name.replace('_', '-')} {value}: expected more than 0")


def main() -> int:
    config = cli.parse(Config)
    rows = {**storage(config), **traffic(config), **startup(config)}
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:{width}}  {value}")
    return 0


def storage(config: Config) -> dict[str, str]:
    """Size of the shards and of a cache."""
    total = config.records * config.record_bytes
    nodes = math.ceil(config.gpus / config.gpus_per_node)
    return {
        "shards": f"{total / GIB:,.0f} GiB in {config.videos:,} tars of {total / config.videos / MIB:,.0f} MiB",
        "cache for all shards": f"{total / GIB:,.0f} GiB on {plural(nodes, 'node')} each: every node reads all",
        "when a cache helps": f"only when records are read again: {epochs_until_seen(config):,.1f} epochs read "
        f"{config.records:,} records once, so read ranges, or use --shuffle-shards",
    }


def epochs_until_seen(config: Config) -> float:
    """The number of epochs until as many samples were used as there are records."""
    return config.records / (config.num_samples // 12)


def traffic(config: Config) -> dict[str, str]:
    """Load of the object store and of the network during training."""
    rate = config.gpus * config.sequences_per_second
    node = config.gpus_per_node * config.sequences_per_second * config.record_bytes
    return {
        "reads from the store": f"{rate:,.0f} requests/s, {rate * config.record_bytes / 1e9:.1f} GB/s in total, "
        f"{8 * node / 1e9:.1f} Gbit/s into each node",
        "one data worker": f"{config.sequences_per_second / config.workers:.1f} records/s, so one read may "
        f"take {1000 * config.workers / config.sequences_per_second:.0f} ms",
    }


def startup(config: Config) -> dict[str, str]:
    """Time and memory before the first training step, measured here with generated indexes."""
    # numpy and torch take seconds to import, which --help must not wait for
    from pack.shards.index import parse_index
    from train.config import epoch_slots
    from train.data.plan import Plan
    from train.data.records import Records

    each = config.records // config.videos
    text = [index_text(number, each, config.record_bytes) for number in range(config.videos)]
    started = time.perf_counter()
    shards = [parse_index(data, Path(f"s{number:06d}.json")) for number, data in enumerate(text)]
    parsed = time.perf_counter() - started
    started = time.perf_counter()
    records = Records(shards)
    grouped = time.perf_counter() - started
    slots = epoch_slots(config.num_samples, 12, config.gpus)
    started = time.perf_counter()
    Plan([each] * config.videos, slots, seed=1).records(1)
    planned = time.perf_counter() - started
    size, kept = sum(map(len, text)), len(pickle.dumps(records))  # kept: sent to each worker
    workers = config.gpus_per_node * config.workers
    return {
        "indexes": f"{size / MIB:,.0f} MiB in {config.videos:,} requests by the first process, "
        f"which sends them to the others; parsed in {parsed:.1f} s",
        "records in memory": f"{len(records):,} in {kept / MIB:,.0f} MiB, {grouped:.1f} s; data workers that read from "
        f"a store hold a copy each, {workers * kept / GIB:,.1f} GiB per node; forked ones share it",
        "plan of an epoch": f"{slots:,} samples in {planned:.2f} s",
        "first bottleneck": "the network of a node: use --cache-dir on fast disks, or fewer GPUs per node; with "
        "ten times the records, the first process reads and parses indexes for minutes before the first step",
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
