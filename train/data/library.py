"""The stream of samples for a trainer of your own: `from train.data import open_stream`, see docs/data-format.md.

It is the stream that `train/main.py` trains on, without hard-example mining. B samples of a batch in this process,
T frames (12), S side of the tile.
"""

import os
import warnings
import weakref
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import torch
import torch.distributed as dist

from pack.shards.exclusion import read_keys
from pack.shards.store import use_endpoint
from tools.cli import UserError, plural
from train.config import Config
from train.data.augment import to_device_batch
from train.data.dataset import training_plan, training_samples
from train.data.plan import Plan, Slot, slots_of
from train.data.samples import BadRecord, Sample, Samples, Stage
from train.data.sources import load_split, open_cache
from train.data.stream import Stream, explain_worker_death

VERSION = 1  # of a state
BLOCK = 8192  # slots that are given to the workers at a time, so that the memory does not grow with the epoch


class Batch(TypedDict):
    """What the stream yields. Frames are augmented, colours and all."""

    frames: torch.Tensor  # float32 (B T 3 S S) in [0, 1]: the ground truth
    holes: torch.Tensor  # bool (B T 1 S S), True where a pixel is hidden
    index: torch.Tensor  # int64 (B), place of each sample in its epoch, over all processes
    key: list[str]  # of each record
    epoch: int  # from 1


def open_stream(
    data: str,
    split: Literal["train", "eval"] = "train",
    *,
    batch_size: int = 4,
    seed: int = 0,
    workers: int = 0,
    tile: int = 256,
    samples_per_epoch: int = 0,
    tiles_per_record: int = 1,
    shuffle_shards: int = 0,
    augment: Literal["iw3", "strong"] = "iw3",
    holes_as_used: float = 0.0,
    stages: Sequence[Stage] = (),
    exclude: str = "",
    endpoint_url: str = "",
    cache_dir: str = "",
    cache_size: str = "200GB",
    device: str | torch.device = "cpu",
    rank: int | None = None,
    world_size: int | None = None,
) -> "SampleStream":
    """Batches of the shards in `data`/train, augmented and shuffled, or of `data`/eval, unchanged and in order.

    `data` is a folder, a URL, a list with braces or a mixture, as `-i` of train/main.py, whose options `tile`,
    `tiles_per_record`, `shuffle_shards`, `augment`, `holes_as_used`, `exclude`, `endpoint_url`, `cache_dir` and
    `cache_size` are the same. `batch_size` counts samples over all processes; each gets an equal share. An epoch of
    training has `samples_per_epoch` samples, by default as many as there are records, rounded up to whole batches;
    every record is shown once before any is shown twice, across the ends of epochs. `workers` are processes of this
    one that prepare samples, which changes no sample. `stages` are generators over samples (train.data.own). Pixels
    become float on `device`. `rank` and `world_size` are by default those of torch.distributed, or of torchrun's
    environment.

    Raises UserError (a ValueError) for a setting out of range, records that do not fit the tile or an empty source,
    MissingFile (a FileNotFoundError) where there are no shards, and StoreError when an object store does not answer.
    """
    check_settings(
        split, augment, batch_size=batch_size, seed=seed, workers=workers, samples_per_epoch=samples_per_epoch
    )
    config = Config(
        data_dir=str(data), backward_step=batch_size, seed=seed, num_workers=workers, tile=tile, augment=augment,
        tiles_per_record=tiles_per_record, shuffle_shards=shuffle_shards, exclude=exclude, endpoint_url=endpoint_url,
        cache_dir=cache_dir, cache_size=cache_size, holes_as_used=holes_as_used,
    )  # fmt: skip
    use_endpoint(endpoint_url)
    records = load_split(config, split, read_keys(Path(exclude)) if exclude else frozenset())
    cache = open_cache(config, records)
    read = cache.read_record if cache else None
    if split == "eval":
        stream, plan = Stream(Samples(records, config.frames, tile, read=read), workers), None
    else:
        slots = -(-(samples_per_epoch or len(records)) // batch_size) * batch_size
        stream = Stream(training_samples(config, records, seed, read, stages), workers, tiles_per_record)
        plan = training_plan(config, records, slots, seed)
    return SampleStream(stream, plan, batch_size, torch.device(device), rank, world_size)


def check_settings(split: str, augment: str, **numbers: int) -> None:
    """Raise UserError for a setting out of range; train.config checks the others."""
    for name, found, known in (("split", split, ("train", "eval")), ("augment", augment, ("iw3", "strong"))):
        if found not in known:
            raise UserError(f"{name} {found!r}: expected {' or '.join(known)}")
    for name, number in numbers.items():
        least = 1 if name == "batch_size" else 0
        if number < least:
            raise UserError(f"{name} {number}: expected {least} or more")


class SampleStream:
    """An iterable over the batches of one epoch after another, which stands at one position.

    A loop continues from the position, also after a loop that was left early: nothing is shown twice or left out. A
    batch counts as done when it is handed out; with the last one of an epoch the position is the start of the next.
    Evaluation has no position: each loop begins with the first record, and a process may get fewer samples in the
    last batch, or no last batch.

    `close` it, or use it in a `with` block, to end the workers before the process ends.
    """

    def __init__(
        self,
        stream: Stream,
        plan: Plan | None,
        batch_size: int,
        device: torch.device,
        rank: int | None,
        world_size: int | None,
    ):
        self.stream, self.plan, self.batch_size, self.device = stream, plan, batch_size, device
        self.rank, self.world_size = rank, world_size
        self.slots = plan.slots if plan else len(stream.source.records)
        self.epoch, self.samples_done = 1, 0  # the position; the samples are those of all processes
        self.loops = 0
        self.warned: set[str] = set()  # keys of bad records
        # also at the end of the process: workers ignore the signals that end it
        self.close = weakref.finalize(self, stream.close)

    def __enter__(self) -> "SampleStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """The batches of an epoch, however many of them are done, on any number of processes."""
        return -(-self.slots // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """The batches from the position to the end of the epoch.

        Raises UserError when the processes cannot share a batch equally, when a worker died or when ten records in a
        row are bad, and StoreError when an object store does not answer. A bad record is replaced, with a warning; in
        evaluation it is left out.
        """
        if not self.close.alive:
            raise RuntimeError("the stream is closed: open another one")
        rank, world_size = self._place()
        self.loops += 1
        loop = self.loops
        epoch, block = self.epoch, -(-BLOCK // self.batch_size) * self.batch_size
        order = self.plan.records(epoch) if self.plan else np.arange(self.slots)
        with explain_worker_death():
            for start in range(self.samples_done, self.slots, block):
                stop = min(start + block, self.slots)
                samples = self._samples(epoch, start, stop, order, rank, world_size)
                for first in range(start, stop, self.batch_size):
                    last = min(first + self.batch_size, stop)
                    if loop != self.loops:
                        raise RuntimeError("the position of the stream was changed, or another loop over it was begun")
                    share = len(slots_of(rank, world_size, first, last, self.batch_size, self.stream.tiles))
                    found = self._usable(islice(samples, share))
                    if self.plan:
                        self.epoch, self.samples_done = (epoch, last) if last < self.slots else (epoch + 1, 0)
                    if found:
                        yield self._batch(found, epoch)

    def state_dict(self) -> dict[str, Any]:
        """The position and the settings that the samples depend on: JSON values, the same ones on every process."""
        return {
            "version": VERSION,
            "settings": self._settings(),
            "epoch": self.epoch,
            "samples_done": self.samples_done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the position of a `state_dict` of any number of processes.

        Raises UserError when it is not one, or is of other data or settings; the position is then unchanged.
        """
        if (
            not isinstance(state, dict)
            or state.get("version") != VERSION
            or not isinstance(state.get("settings"), dict)
        ):
            raise UserError(f"not the state of a stream of version {VERSION}: pass what state_dict() returned")
        before, now = state["settings"], self._settings()
        different = [f"{name}: {before.get(name)} -> {now.get(name)}" for name in now if before.get(name) != now[name]]
        if different:
            raise UserError(
                f"the state is of a stream with other settings ({'; '.join(different)}): open the stream with the same"
            )
        epoch, done = state.get("epoch"), state.get("samples_done")
        if (
            type(epoch) is not int
            or epoch < 1
            or type(done) is not int
            or done not in range(0, self.slots, self.batch_size)
        ):
            raise UserError(f"the state is damaged (epoch {epoch!r:.20}, samples_done {done!r:.20})")
        self.epoch, self.samples_done = epoch, done
        self.loops += 1

    def _place(self) -> tuple[int, int]:
        """Rank and number of processes, which may be known only after the stream was opened."""
        if self.rank is not None and self.world_size is not None:
            rank, world_size = self.rank, self.world_size
        elif dist.is_available() and dist.is_initialized():
            rank, world_size = dist.get_rank(), dist.get_world_size()
        else:
            rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if not 0 <= rank < world_size:
            raise UserError(
                f"rank {rank} of {plural(world_size, 'process', 'processes')}: expected 0 to {world_size - 1}"
            )
        if self.batch_size % (world_size * self.stream.tiles):
            raise UserError(
                f"batch_size {self.batch_size} counts samples over all processes, found "
                f"{plural(world_size, 'process', 'processes')} and {plural(self.stream.tiles, 'tile')} per record: "
                f"expected a multiple of {world_size * self.stream.tiles}"
            )
        return rank, world_size

    def _samples(
        self, epoch: int, start: int, stop: int, order: np.ndarray, rank: int, world_size: int
    ) -> Iterator[Sample | BadRecord]:
        """The samples of this process, of the slots from `start` to `stop`."""
        indexes = slots_of(rank, world_size, start, stop, self.batch_size, self.stream.tiles)
        slots = [Slot(epoch, index, int(order[index])) for index in indexes]
        return self.stream.samples(slots) if self.plan else self.stream(slots)

    def _usable(self, found: Iterator[Sample | BadRecord]) -> list[Sample]:
        """The samples, without the bad records of evaluation; it warns of each bad record once."""
        samples = []
        for one in found:
            bad = (one,) if isinstance(one, BadRecord) else one.bad_records
            samples += [] if isinstance(one, BadRecord) else [one]
            for record in bad:
                if record.key not in self.warned:
                    self.warned.add(record.key)
                    reason = f"bad record {record.key} in {record.shard} is not used: {record.reason}"
                    warnings.warn(reason, stacklevel=3)
        return samples

    def _batch(self, samples: list[Sample], epoch: int) -> Batch:
        frames, holes = to_device_batch(samples, self.device)
        records = self.stream.source.records
        return {
            "frames": frames,
            "holes": holes,
            "index": torch.tensor([sample.slot.index for sample in samples]),
            "key": [records[sample.slot.record][1].key for sample in samples],
            "epoch": epoch,
        }

    def _settings(self) -> dict[str, Any]:
        samples, plan = self.stream.source, self.plan
        own: dict[str, Any] = {"stages": samples.own_names, "augment": "strong" if samples.strong else "iw3"}
        own |= {"holes_as_used": samples.holes_as_used} if samples.holes_as_used else {}
        planned = {"seed": plan.seed, "tiles_per_record": plan.tiles, "shuffle_shards": plan.window} if plan else {}
        sizes = {"batch_size": self.batch_size, "samples_per_epoch": self.slots, "tile": samples.tile}
        return {"split": "train" if plan else "eval", "data": samples.records.fingerprint()} | own | planned | sizes
