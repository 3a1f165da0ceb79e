"""The records of a dataset, by number."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pack.shards.index import Entry, Index
from pack.shards.location import RemotePath


class Records:
    """All records of a split, by number.

    They are kept in arrays: counting references to millions of objects would copy their pages into every worker
    process.
    """

    def __init__(self, shards: Sequence[Index], shares: Sequence[tuple[int, float]] = ()):
        self.shares = tuple(shares)  # (number of shards, weight) of each of several sources
        entries = [entry for shard in shards for entry in shard.records]
        self.sizes = [len(shard.records) for shard in shards]
        self.ends = np.cumsum(self.sizes)
        self.shards = [replace(shard, records=()) for shard in shards]
        self.keys = np.array([entry.key.encode() for entry in entries])
        self.ranges = np.array([(entry.offset, entry.length, entry.crc32) for entry in entries], np.int64)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> tuple[Index, Entry]:
        shard = self.shards[int(np.searchsorted(self.ends, number, side="right"))]
        return shard, Entry(self.keys[number].decode(), *self.ranges[number].tolist())

    @property
    def remote(self) -> bool:
        """Whether any of them is in an object store."""
        return any(isinstance(shard.tar, RemotePath) for shard in self.shards)

    def fingerprint(self) -> str:
        """Identifies the dataset: the same records in the same order and mixture, wherever they are stored."""
        lines = [" ".join([shard.name, shard.sha256, *(f"-{n}" for n in shard.left_out)]) for shard in self.shards]
        names = "\n".join(lines + [f"{s}" for s in self.shares])
        return hashlib.sha256(names.encode()).hexdigest()[:16]
