"""The training plan: which record every slot of an epoch shows, from (records, seed, epoch, weights) alone.

N records, S slots an epoch. Who computes a slot (rank, worker, prefetch) has no part in it, so resume is exact and
another number of processes sees the same batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from train.seeds import mix, numpy_generator


@dataclass(frozen=True)
class Plan:
    """Maps (epoch, slot) to records.

    Without weights every record is shown once before any is shown twice, carried over the ends of epochs. With
    weights records are drawn with replacement in proportion to them, as iw3 does.
    """

    shard_sizes: Sequence[int]  # records of each shard, in the order of the dataset
    slots: int  # slots of an epoch
    seed: int
    window: int = 0  # shards that are open to draws at one time; 0 is all of them

    def records(self, epoch: int, weights: np.ndarray | None = None) -> np.ndarray:  # (N) -> int64 (S)
        """The record of every slot of the epoch, counted from 1."""
        if weights is None:
            return self._permuted((epoch - 1) * self.slots)
        return self._drawn(epoch, weights)

    @property
    def count(self) -> int:
        return int(sum(self.shard_sizes))

    def _permuted(self, start: int) -> np.ndarray:
        """Slots start, start + 1, ... of the endless row of permutations."""
        first, offset = divmod(start, self.count)
        last = (start + self.slots - 1) // self.count
        row = np.concatenate([self.permutation(number) for number in range(first, last + 1)])
        return row[offset : offset + self.slots]

    def permutation(self, number: int) -> np.ndarray:  # -> int64 (N)
        """Every record once. With a window, the shards come in random order and mix only with their neighbours."""
        gen = numpy_generator(self.seed, "permutation", number)
        if not self.window:
            return gen.permutation(self.count)
        starts = np.concatenate([[0], np.cumsum(self.shard_sizes)])
        order = gen.permutation(len(self.shard_sizes))
        windows = [order[i : i + self.window] for i in range(0, len(order), self.window)]
        ranges = [np.concatenate([np.arange(starts[s], starts[s + 1]) for s in window]) for window in windows]
        return np.concatenate([gen.permutation(records) for records in ranges])

    def _drawn(self, epoch: int, weights: np.ndarray) -> np.ndarray:
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
    """The record that a slot shows instead of a bad one, the same on every rank."""
    return mix(seed, "replacement", epoch, slot, attempt) % count


def slots_of(rank: int, world: int, start: int, stop: int) -> range:
    """The slots from start to stop that a rank computes; start is that of an optimizer step."""
    return range(start + rank, stop, world)


def epoch_slots(num_samples: int, frames: int, backward_step: int) -> int:
    """Sequences of an epoch: iw3's num_samples // frames, rounded up to whole optimizer steps so that none is lost."""
    return -(-(num_samples // frames) // backward_step) * backward_step
