"""One training sample on one core: ours against PNG folders whose whole frames are augmented and cropped last.

Each side has a process of its own, prepared as its loader prepares a worker: ours keeps the memory that it frees.
T frames (12), H height and W width of the record, S side of the tile.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from pack.shards.shard import list_shards
from tools.benches.case import Case, Goal, Race, Workplace
from tools.benches.records import as_folders, converted, packed
from train.data import crop as crop_module
from train.data import samples as samples_module
from train.data.augment import to_device_batch
from train.data.crop import AugmentParams, draw_params, frame_indexes
from train.data.records import Records
from train.data.samples import Sample, Samples
from train.runtime.cpu import keep_freed_memory
from train.runtime.seeds import generator

FRAMES, TILE = 12, 256
SAMPLES = 24  # per round
SEED = 5


def textbook_sample(
    folder: Path, tile: int, draws: AugmentParams
) -> tuple[torch.Tensor, torch.Tensor]:  # float (T 3 S S), bool (T 1 S S)
    """The sample that these draws make of a record's folder."""
    names = sorted(path.name for path in folder.glob("*_M.png"))
    chosen = [names[t] for t in frame_indexes(len(names), FRAMES, draws)]
    frames = torch.stack([_read(folder / name.replace("_M", "_C"), "RGB") for name in chosen])  # (T 3 H W)
    masks = torch.stack([_read(folder / name, "L") for name in chosen])  # (T 1 H W)
    frames = textbook_jitter(frames, draws.jitter)
    masks = textbook_grow(textbook_grow(masks, draws.outer, 1), draws.inner, -1)
    return textbook_crop(frames, masks, tile, draws)


def _read(path, mode):
    pixels = np.asarray(Image.open(path).convert(mode))
    return torch.from_numpy(pixels.copy()).view(*pixels.shape[:2], -1).permute(2, 0, 1).float() / 255


def textbook_jitter(frames, jitter):
    if jitter == "gray":
        return frames.mean(1, keepdim=True).expand_as(frames)
    if jitter is None:
        return frames
    scale, bias = (torch.tensor(values).view(1, 3, 1, 1) for values in jitter)
    return (frames * scale + bias).clamp(0, 1)


def textbook_grow(masks, rounds, step):  # step: pixels to the right
    """The holes dilated by one pixel in each round."""
    if not rounds:
        return masks
    holes = masks > 0
    for _ in range(rounds):
        shifted = F.pad(holes, (1, 0))[..., :-1] if step > 0 else F.pad(holes, (0, 1))[..., 1:]
        holes = holes | shifted
    return holes.float()


def textbook_crop(frames, masks, tile, draws):
    """Of the drawn windows the one with the most hole."""
    rows, columns = (size - tile + 1 for size in masks.shape[-2:])
    windows = [(int(y * rows), int(x * columns)) for y, x in draws.tiles]
    crops = [masks[..., y : y + tile, x : x + tile] for y, x in windows]
    best = int(np.argmax([crop.double().sum() for crop in crops]))
    y, x = windows[best]
    return frames[..., y : y + tile, x : x + tile], crops[best] > 0


PARTS = {
    "reading": (samples_module.Samples, "_members"),
    "decoding masks": (samples_module, "decode_masks"),
    "decoding frames": (samples_module, "decode_frames"),
    "growing holes": (crop_module, "augment_masks"),
}  # the rest: random numbers, choice of the tile


def shares(work: Callable[[], None]) -> dict[str, str]:
    """The share of each part in the time of `work`, which makes samples."""
    spent = dict.fromkeys((*PARTS, "the rest"), 0.0)

    def clocked(part: str, function: Callable) -> Callable:
        def run(*args, **kwargs):
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[part] += time.perf_counter() - started

        return run

    with ExitStack() as stack:
        for part, (owner, name) in PARTS.items():
            stack.enter_context(mock.patch.object(owner, name, clocked(part, getattr(owner, name))))
        started = time.perf_counter()
        work()
        total = time.perf_counter() - started
    spent["the rest"] = total - sum(spent.values())
    return {part: f"{seconds / total:.0%}" for part, seconds in spent.items()}


def in_a_worker(place: Workplace, work: Callable[[], None], begin: Callable[[], None]) -> Callable[[], None]:
    """A function that does the work in a process, forked when it is first called, which calls `begin` before."""
    context = get_context("fork")
    here, there = context.Pipe()

    def serve() -> None:
        begin()
        while there.recv():
            work()
            there.send(True)

    process = context.Process(target=serve, daemon=True)
    place.stack.callback(lambda: process.kill() if process.pid else None)

    def run() -> None:
        if not process.pid:
            process.start()
            there.close()
        here.send(True)
        here.recv()

    return run


def prepare(image_format: str) -> Callable[[Workplace], Race]:
    def ready(place: Workplace) -> Race:
        torch.set_num_threads(1)
        tile, count = (64, 4) if place.tiny else (TILE, SAMPLES)
        split = packed(place) if image_format == "webp" else converted(place, image_format)
        folders = as_folders(split, place.folder / f"{'jpeg' if image_format == 'jpeg' else 'lossless'} folders")
        samples = Samples(Records(list_shards(split)), FRAMES, tile, SEED)
        slots = [(1, position, position % len(folders)) for position in range(count)]
        notes = {}

        def reference(slot):
            epoch, position, number = slot
            return textbook_sample(folders[number], tile, draw_params(generator(SEED, epoch, position, "crop")))

        def check() -> None:
            for slot in slots:
                ours, (frames, holes) = samples[slot], reference(slot)
                assert isinstance(ours, Sample)
                (ours_frames,), (ours_holes,) = to_device_batch([ours], "cpu")
                assert torch.equal(ours_holes, holes), f"holes of {slot} differ"
                assert (ours_frames - frames).abs().max() < 1e-6, f"frames of {slot} differ"
            notes["share of each part in our time"] = shares(lambda: each(samples.__getitem__))
            made = [sample for sample in map(samples.__getitem__, slots) if isinstance(sample, Sample)]
            started = time.process_time()
            for one in made:
                to_device_batch([one], "cpu")
            seconds = (time.process_time() - started) / count
            notes["floats on the same core, which the training device makes otherwise"] = f"{seconds:.4f} s"

        def each(
            sample: Callable,
        ) -> None:  # keeps none: allocating memory for all would dominate
            for slot in slots:
                sample(slot)

        return Race(
            in_a_worker(place, lambda: each(samples.__getitem__), keep_freed_memory),
            in_a_worker(place, lambda: each(reference), lambda: None),
            check,
            count,
            "sample",
            notes=notes,
        )

    return ready


CASES = tuple(
    Case(
        f"sample-{name}",
        f"training sample from {name} records, still bytes / floats from PNG folders, augmenting whole frames",
        Goal(goal),
        prepare(name),
    )
    for name, goal in (("webp", 5), ("png", 5), ("jpeg", 10))
)
