"""Hands samples from worker processes to the main process through preallocated shared memory.

torch would make new shared memory for each tensor, whose fresh pages and file descriptors take time (benchmark
stream-handover).
"""

from dataclasses import dataclass, replace
from multiprocessing.context import BaseContext

import numpy as np
import torch
from torch.utils.data import get_worker_info

from train.data.samples import BadRecord, Sample

PREFETCH = 2  # tasks that a worker is given ahead
BUFFERS = PREFETCH + 1  # of a worker: a task is given when the one PREFETCH tasks before is being read


@dataclass(frozen=True)
class StoredSample:
    """A sample whose pixels are in shared memory."""

    sample: Sample  # without frames and holes
    number: int  # of its place in the memory
    side: int  # of its tile


class Handover:
    """Memory that `workers` write samples to and the main process reads from. T frames, S side of the tile.

    A worker writes each task, of `tiles` samples, to the buffer that it used longest ago. A place of a buffer holds a
    sample of up to `side` pixels.
    """

    def __init__(self, context: BaseContext, workers: int, tiles: int, frames: int, side: int):
        self.tiles, self.frames = tiles, frames
        self.bytes = -(-4 * frames * side * side // 64) * 64  # three colours and a hole per pixel, whole cache lines
        self.memory = context.RawArray("b", workers * BUFFERS * tiles * self.bytes)
        self.tasks = 0  # that this worker has stored

    def store(self, found: list[Sample | BadRecord]) -> list[StoredSample | BadRecord]:
        """The samples of a task, with their pixels moved to a buffer of the calling worker."""
        buffer = get_worker_info().id * BUFFERS + self.tasks % BUFFERS
        self.tasks += 1
        return [
            self._write(sample, buffer * self.tiles + place) if isinstance(sample, Sample) else sample
            for place, sample in enumerate(found)
        ]

    def fetch(self, found: StoredSample | BadRecord) -> Sample | BadRecord:
        """The sample with a copy of its pixels."""
        if not isinstance(found, StoredSample):
            return found
        # copied by numpy, because torch's threads would spin afterwards, for as long as half a sample takes
        frames, holes = (torch.from_numpy(pixels.copy()) for pixels in self._pixels(found.number, found.side))
        return replace(found.sample, frames=frames, holes=holes)

    def _write(self, sample, number):
        side = sample.holes.shape[-1]
        for target, tensor in zip(self._pixels(number, side), (sample.frames, sample.holes), strict=True):
            target[:] = tensor
        return StoredSample(replace(sample, frames=None, holes=None), number, side)

    def _pixels(self, number, side):  # -> uint8 (T S S 3), bool (T S S), in the memory
        pixels = self.frames * side * side
        memory = np.frombuffer(self.memory, np.uint8, 4 * pixels, number * self.bytes)
        frames, holes = memory[: 3 * pixels], memory[3 * pixels :].view(bool)
        return frames.reshape(self.frames, side, side, 3), holes.reshape(self.frames, side, side)
