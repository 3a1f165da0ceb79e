"""Hands samples from worker processes to the main process through preallocated shared memory.

torch would make new shared memory for each tensor, whose fresh pages take time (benchmark stream-handover).
"""

import weakref
from dataclasses import dataclass, replace
from multiprocessing.context import BaseContext
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import get_worker_info

from train.data.samples import BadRecord, Sample

PREFETCH = 2  # tasks that a worker is given ahead
MAX_LENT = 1  # samples of a worker that the main process may use without copying them
BUFFERS = PREFETCH + MAX_LENT + 1  # of a worker: one more for the task that it is working on


class Address(NamedTuple):
    """Where a sample is in the shared memory."""

    worker: int
    buffer: int  # of the worker
    sample: int  # in the buffer


@dataclass(frozen=True)
class StoredSample:
    """A sample whose tensors are in shared memory."""

    sample: Sample  # without tensors
    address: Address


class Handover:
    """Memory that `workers` write samples to and the main process reads from. T frames, S side of the tile.

    A worker writes each task, of `tiles` samples, to the buffer that it used longest ago and that is not lent. It gets
    a task only when the one PREFETCH tasks before is being read, so that no unread sample is overwritten.
    """

    def __init__(self, context: BaseContext, workers: int, tiles: int, frames: int, tile: int):
        self.shape, self.addresses = (frames, 3, tile, tile), (workers, BUFFERS, tiles)
        self.pixels = frames * tile * tile
        # of a sample: three floats and a hole per pixel, in whole cache lines
        self.bytes = -(-13 * self.pixels // 64) * 64
        self.memory = context.RawArray("b", workers * BUFFERS * tiles * self.bytes)
        self.lent = context.RawArray("b", workers * BUFFERS * tiles)  # by address, whether its sample is in use
        self.order = list(range(BUFFERS))  # a worker's buffers, the one used longest ago first

    def store(self, found: list[Sample | BadRecord]) -> list[StoredSample | BadRecord]:
        """The samples of a task, with their tensors moved to a buffer of the calling worker."""
        worker = get_worker_info().id
        buffer = next(buffer for buffer in self.order if not self._flags()[worker, buffer].any())
        self.order.remove(buffer)
        self.order.append(buffer)
        return [
            self._write(sample, Address(worker, buffer, number)) if isinstance(sample, Sample) else sample
            for number, sample in enumerate(found)
        ]

    def fetch(self, found: StoredSample | BadRecord, pin: bool) -> Sample | BadRecord:
        """The sample with its tensors, in pinned memory if `pin`.

        Otherwise the tensors are lent: the worker reuses their memory once no tensor views it any more. Where MAX_LENT
        samples of the worker are lent already, the tensors are a copy.
        """
        if not isinstance(found, StoredSample):
            return found
        memory = self._memory_of(found.address)
        if pin:
            frames, holes = (tensor.pin_memory() for tensor in self._tensors(memory))
        else:
            # copied by numpy, because torch's threads would spin afterwards, for as long as half a sample takes
            frames, holes = self._tensors(memory if self._lend(found.address, memory) else memory.copy())
        return replace(found.sample, frames=frames, holes=holes)

    def _lend(self, address, memory):  # -> whether the memory is lent until no array or tensor views it
        if self._flags()[address.worker].sum() == MAX_LENT:
            return False
        self._mark(address, True)
        weakref.finalize(memory, self._mark, address, False).atexit = False
        return True

    def _mark(self, address, lent):
        self._flags()[address] = lent

    def _write(self, sample, address):
        tensors = self._tensors(self._memory_of(address))
        for target, tensor in zip(tensors, (sample.frames, sample.holes), strict=True):
            target.copy_(tensor)
        return StoredSample(replace(sample, frames=None, holes=None), address)

    def _memory_of(self, address):  # -> bytes, in an array of its own
        number = int(np.ravel_multi_index(address, self.addresses))
        return np.frombuffer(self.memory, np.uint8, self.bytes, number * self.bytes)

    def _tensors(self, memory):  # -> float (T 3 S S), bool (T 1 S S), views of the bytes
        frames, _, *sides = self.shape
        colours, holes, _ = np.split(memory, [12 * self.pixels, 13 * self.pixels])
        colours = colours.view(np.float32).reshape(self.shape)
        return torch.from_numpy(colours), torch.from_numpy(holes.view(bool).reshape(frames, 1, *sides))

    def _flags(self):  # -> bool (workers BUFFERS tiles)
        return np.frombuffer(self.lent, bool).reshape(self.addresses)
