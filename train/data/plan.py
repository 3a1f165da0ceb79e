"""The training plan: which record every slot of an epoch shows, from (records, seed, epoch, weights) alone.

N records, S slots per epoch. It does not depend on what computes a slot (rank, worker, prefetch), so that a resume is
exact and any number of processes sees the same batches.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from train.runtime.seeds import mix, numpy_generator


class Slot(NamedTuple):
    """One draw of the plan: the `index`-th of its epoch, and the number of the record that it shows."""

    epoch: int
    index: int
    record: int


@dataclass(frozen=True)
class Plan:
    """Maps (epoch, slot) to records.

    Without weights every record is shown once before any is shown twice, across the ends of epochs. With weights
    records are drawn with replacement in proportion to them, as in iw3.

    Each of several sources gets its share of the slots. With weights the share is the probability of the source at
    every draw, and the weights apply within the source. Without weights it is the number of its slots in every epoch,
    rounded; each source has its own permutations, and the slots of all sources are shuffled.
    """

    shard_sizes: Sequence[int]  # records of each shard, in the order of the dataset
    slots: int  # slots of an epoch
    seed: int
    window: int = 0  # shuffle window, in shards; 0: global shuffle
    sources: Sequence[tuple[int, float]] = ()  # (number of shards, weight) of each of several sources
    tiles: int = 1  # consecutive slots that show the same record

    def records(self, epoch: int, weights: np.ndarray | None = None) -> np.ndarray:  # (N) -> int64 (S)
        """The record of every slot of the epoch, counted from 1."""
        if self.tiles > 1:
            visits = replace(self, slots=self.slots // self.tiles, tiles=1)
            return visits.records(epoch, weights).repeat(self.tiles)
        if weights is not None:
            return self._weighted(epoch, self._scaled(weights) if self.sources else weights)
        if self.sources:
            return self._mixed(epoch)
        return self._permuted((epoch - 1) * self.slots)

    @property
    def count(self) -> int:
        """The number of records."""
        return int(sum(self.shard_sizes))

    def _parts(self) -> list["Plan"]:
        """The plan of each source, with its own slots and seed."""
        total = sum(weight for _, weight in self.sources)
        exact = [self.slots * weight / total for _, weight in self.sources]
        quotas = [math.floor(quota) for quota in exact]
        for s in sorted(range(len(exact)), key=lambda s: quotas[s] - exact[s])[: self.slots - sum(quotas)]:
            quotas[s] += 1  # the largest remainders
        ends = np.cumsum([shards for shards, _ in self.sources]).tolist()
        sizes = [self.shard_sizes[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        return [
            Plan(size, quota, mix(self.seed, "source", s), self.window)
            for s, (size, quota) in enumerate(zip(sizes, quotas, strict=True))
        ]

    def _scaled(self, weights: np.ndarray) -> np.ndarray:  # (N) -> float64 (N)
        """The weights, scaled so that those of each source sum up to the weight of the source."""
        ends = np.cumsum([part.count for part in self._parts()])
        scaled = [
            weight * part / part.sum(dtype=np.float64)
            for (_, weight), part in zip(self.sources, np.split(weights, ends[:-1]), strict=True)
        ]
        return np.concatenate(scaled)

    def _mixed(self, epoch: int) -> np.ndarray:  # -> int64 (S)
        """The next records of every source, in the order of the source, in randomly chosen slots."""
        parts = self._parts()
        starts = np.concatenate([[0], np.cumsum([part.count for part in parts])])
        labels = np.repeat(np.arange(len(parts)), [part.slots for part in parts])
        labels = numpy_generator(self.seed, "sources", epoch).permutation(labels)
        row = np.empty(self.slots, np.int64)
        for s, part in enumerate(parts):
            if part.slots:
                row[labels == s] = starts[s] + part.records(epoch)
        return row

    def _permuted(self, start: int) -> np.ndarray:
        """Slots start, start + 1, ... of all permutations in a row."""
        first, offset = divmod(start, self.count)
        last = (start + self.slots - 1) // self.count
        row = np.concatenate([self.permutation(number) for number in range(first, last + 1)])
        return row[offset : offset + self.slots]

    def permutation(self, number: int) -> np.ndarray:  # -> int64 (N)
        """Every record once. With a window, shards come in random order and are shuffled only within a window."""
        gen = numpy_generator(self.seed, "permutation", number)
        if not self.window:
            return gen.permutation(self.count)
        starts = np.concatenate([[0], np.cumsum(self.shard_sizes)])
        order = gen.permutation(len(self.shard_sizes))
        windows = [order[i : i + self.window] for i in range(0, len(order), self.window)]
        ranges = [np.concatenate([np.arange(starts[s], starts[s + 1]) for s in window]) for window in windows]
        return np.concatenate([gen.permutation(records) for records in ranges])

    def _weighted(self, epoch: int, weights: np.ndarray) -> np.ndarray:  # (N) -> int64 (S)
        """Records drawn with replacement in proportion to the weights."""
        gen = numpy_generator(self.seed, "draws", epoch)
        edges = np.cumsum(weights, dtype=np.float64)
        drawn = np.searchsorted(edges, gen.random(self.slots) * edges[-1], side="right")
        drawn = np.minimum(drawn, self.count - 1)
        if not self.window:
            return drawn
        order = gen.permutation(len(self.shard_sizes))
        window_of = np.empty(len(order), np.int64)
        window_of[order] = np.arange(len(order)) // self.window
        shard = np.searchsorted(np.cumsum(self.shard_sizes), drawn, side="right")
        return drawn[np.lexsort((gen.random(self.slots), window_of[shard]))]


def replacement(seed: int, epoch: int, slot: int, attempt: int, count: int) -> int:
    """The record that a slot shows instead of a bad one, identical on every rank."""
    return mix(seed, "replacement", epoch, slot, attempt) % count


def slots_of(rank: int, world_size: int, start: int, stop: int, step: int, tiles: int = 1) -> list[int]:
    """The slots in start..stop that a rank computes, all `tiles` of a record; start begins an optimizer step.

    The records of each step, which has `step` slots, are dealt out from rank 0 on, so the first ranks may have one
    record more.
    """
    return [index for index in range(start, stop) if (index - start) % step // tiles % world_size == rank]
