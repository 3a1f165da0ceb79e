"""How samples come from a worker to the main process: through memory that both have from the start.

torch would make new shared memory for each tensor, whose fresh pages cost two thirds of what the sample itself takes.
"""

from dataclasses import dataclass, replace
from multiprocessing.context import BaseContext

import torch
from torch.utils.data import get_worker_info

from train.samples import Fault, Sample

AHEAD = 2  # tasks that a worker is asked for ahead
PLACES = AHEAD + 1  # of a worker: for these, and for the one that the main process is taking


@dataclass(frozen=True)
class Left:
    """A sample whose tensors wait in a place: number of the worker, of its place and of the sample in its task."""

    sample: Sample  # without tensors
    place: tuple[int, int, int]


class Handover:
    """Memory for what `workers` leave and the main process fetches. T frames, S side of the tile.

    A worker leaves its tasks in one place after the other. It is given a task only when the one of AHEAD tasks before
    is being fetched, so that nothing is overwritten that is still to be copied.
    """

    def __init__(self, context: BaseContext, workers: int, tiles: int, frames: int, tile: int):
        self.places, self.sample = (workers, PLACES, tiles), (frames, 3, tile, tile)
        count = workers * PLACES * tiles * frames * tile * tile
        self.colours, self.flags = context.RawArray("f", 3 * count), context.RawArray("b", count)
        self.tasks = 0  # that this process, a worker, has left

    def leave(self, found: list[Sample | Fault]) -> list[Left | Fault]:
        """The samples of a task, their tensors put into the next place of the worker that calls."""
        place, self.tasks = self.tasks % PLACES, self.tasks + 1
        worker = get_worker_info().id
        return [
            self._put(sample, (worker, place, number)) if isinstance(sample, Sample) else sample
            for number, sample in enumerate(found)
        ]

    def fetch(self, found: Left | Fault, pin: bool) -> Sample | Fault:
        """The sample with tensors of its own, in pinned memory if asked for."""
        if not isinstance(found, Left):
            return found
        # numpy copies, because torch's threads would spin afterwards, for as long as half a sample takes
        own = torch.Tensor.pin_memory if pin else lambda room: torch.from_numpy(room.numpy().copy())
        frames, holes = map(own, self._rooms(found.place))
        return replace(found.sample, frames=frames, holes=holes)

    def _put(self, sample, place):
        for room, tensor in zip(self._rooms(place), (sample.frames, sample.holes), strict=True):
            room.copy_(tensor)
        return Left(replace(sample, frames=None, holes=None), place)

    def _rooms(self, place):  # -> float (T 3 S S), bool (T 1 S S)
        frames, _, *sides = self.sample
        colours = torch.frombuffer(self.colours, dtype=torch.float32).view(*self.places, *self.sample)
        flags = torch.frombuffer(self.flags, dtype=torch.bool).view(*self.places, frames, 1, *sides)
        return colours[place], flags[place]
