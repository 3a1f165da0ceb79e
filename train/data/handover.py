"""How samples come from a worker to the main process: through memory that both have from the start.

torch would make new shared memory for each tensor, whose fresh pages take time (benchmark stream-handover).
"""

import weakref
from dataclasses import dataclass, replace
from multiprocessing.context import BaseContext

import numpy as np
import torch
from torch.utils.data import get_worker_info

from train.data.samples import BadRecord, Sample

AHEAD = 2  # tasks that a worker is asked for ahead
LENT = 1  # samples of a worker that the main process may use without a copy of its own
PLACES = AHEAD + LENT + 1  # of a worker: one more for what it is working on

Spot = tuple[int, int, int]  # number of the worker, of its place, of the sample in the place


@dataclass(frozen=True)
class Left:
    """A sample whose tensors wait in shared memory."""

    sample: Sample  # without tensors
    spot: Spot


class Handover:
    """Memory for what `workers` leave and the main process fetches. T frames, S side of the tile.

    A worker leaves each task, of `tiles` samples, in the place that it used longest ago, but for those that are lent.
    It is given a task only when the one of AHEAD tasks before is being fetched, so that nothing is overwritten that is
    still to be fetched.
    """

    def __init__(self, context: BaseContext, workers: int, tiles: int, frames: int, tile: int):
        self.shape, self.spots = (frames, 3, tile, tile), (workers, PLACES, tiles)
        self.pixels = frames * tile * tile
        # of a sample: three floats and a hole a pixel, in whole cache lines
        self.bytes = -(-13 * self.pixels // 64) * 64
        self.memory = context.RawArray("b", workers * PLACES * tiles * self.bytes)
        self.lent = context.RawArray("b", workers * PLACES * tiles)  # by spot, whether its sample is in use
        self.order = list(range(PLACES))  # of a worker's places, the one used longest ago first

    def leave(self, found: list[Sample | BadRecord]) -> list[Left | BadRecord]:
        """The samples of a task, their tensors put into a place of the worker that calls."""
        worker = get_worker_info().id
        place = next(place for place in self.order if not self._flags()[worker, place].any())
        self.order.remove(place)
        self.order.append(place)
        return [
            self._put(sample, (worker, place, number)) if isinstance(sample, Sample) else sample
            for number, sample in enumerate(found)
        ]

    def fetch(self, found: Left | BadRecord, pin: bool) -> Sample | BadRecord:
        """The sample with its tensors, which are in pinned memory if asked for.

        Otherwise they are lent, and the worker uses their memory again when all tensors are gone that show it; or they
        are a copy, where LENT samples of the worker are in use already.
        """
        if not isinstance(found, Left):
            return found
        room = self._room(found.spot)
        if pin:
            frames, holes = (tensor.pin_memory() for tensor in self._tensors(room))
        else:
            # numpy copies, because torch's threads would spin afterwards, for as long as half a sample takes
            frames, holes = self._tensors(room if self._lend(found.spot, room) else room.copy())
        return replace(found.sample, frames=frames, holes=holes)

    def _lend(self, spot, room):  # -> whether the room is lent until the last array or tensor that shows it is gone
        if self._flags()[spot[0]].sum() == LENT:
            return False
        self._mark(spot, True)
        weakref.finalize(room, self._mark, spot, False).atexit = False
        return True

    def _mark(self, spot, lent):
        self._flags()[spot] = lent

    def _put(self, sample, spot):
        for room, tensor in zip(self._tensors(self._room(spot)), (sample.frames, sample.holes), strict=True):
            room.copy_(tensor)
        return Left(replace(sample, frames=None, holes=None), spot)

    def _room(self, spot):  # -> bytes, in an array of its own
        number = int(np.ravel_multi_index(spot, self.spots))
        return np.frombuffer(self.memory, np.uint8, self.bytes, number * self.bytes)

    def _tensors(self, room):  # -> float (T 3 S S), bool (T 1 S S), which show the bytes
        frames, _, *sides = self.shape
        colours, holes, _ = np.split(room, [12 * self.pixels, 13 * self.pixels])
        colours = colours.view(np.float32).reshape(self.shape)
        return torch.from_numpy(colours), torch.from_numpy(holes.view(bool).reshape(frames, 1, *sides))

    def _flags(self):  # -> bool (workers PLACES tiles)
        return np.frombuffer(self.lent, bool).reshape(self.spots)
