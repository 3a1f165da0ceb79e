"""The sample stream: two workers against one, from a folder and from an S3 server, and against stock loaders."""

import os
import shutil
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from unittest import mock

import torch

from pack.shards import store
from pack.shards.location import Location, parse_location
from pack.shards.shard import list_shards
from tools.benches.case import Case, Goal, Race, Workplace
from tools.benches.records import packed
from tools.benches.sample import FRAMES, SEED, TILE, textbook_crop, textbook_grow, textbook_jitter
from tools.cli.machine import usable_cores
from train.data.augment import to_device_batch
from train.data.crop import draw_params, frame_indexes
from train.data.records import Records
from train.data.samples import Samples
from train.data.stream import Stream
from train.runtime.seeds import generator

WORKERS = 2
SAMPLES = 120  # per round: filling and emptying the workers' queues takes as long as a few samples
SHUFFLED = 16  # records in webdataset's shuffle buffer


def stream_of(place: Workplace, split: Location, workers: int) -> Callable[[int], Iterator]:
    """A function that gives the first `count` samples of epoch 1; its workers live as long as the case."""
    records = Records(list_shards(split))
    stream = Stream(Samples(records, FRAMES, _tile(place), SEED), workers)
    place.stack.callback(stream.close)
    return lambda count: stream.samples([(1, number, number % len(records)) for number in range(count)])


def drain(samples: Iterator) -> None:
    """Take the samples and keep none, as training does: allocating memory for all of them would be timed too."""
    deque(samples, maxlen=0)


def race_of_workers(place: Workplace, split: Location) -> Race:
    one, several = stream_of(place, split, 1), stream_of(place, split, WORKERS)
    count = 8 if place.tiny else SAMPLES

    def check() -> None:
        for ours, reference in zip(several(count), one(count), strict=True):
            assert ours.digest == reference.digest and torch.equal(ours.frames, reference.frames)

    notes = {"cores": f"{usable_cores()} for {WORKERS} workers and the main process"}
    return Race(lambda: drain(several(count)), lambda: drain(one(count)), check, count, "sample", notes=notes)


def prepare_workers(place: Workplace) -> Race:
    return race_of_workers(place, packed(place))


def prepare_s3(place: Workplace) -> Race:
    from tests.support.servers import s3  # the S3 server of the tests, which most cases do not need

    root = Path(place.stack.enter_context(tempfile.TemporaryDirectory())) / "buckets"
    port = place.stack.enter_context(s3.serve(root))
    shutil.copytree(packed(place), root / s3.BUCKET / "train")
    place.stack.enter_context(mock.patch.dict(os.environ, s3.environment(f"http://127.0.0.1:{port}"), clear=True))
    store._client.cache_clear()  # it would ask another server
    place.stack.callback(store._client.cache_clear)
    race = race_of_workers(place, parse_location(f"s3://{s3.BUCKET}/train"))
    race.notes["server"] = "rclone, on the same cores"
    return race


def prepare_webdataset(place: Workplace) -> Race:
    split = packed(place)
    keys = [entry.key for shard in list_shards(split) for entry in shard.records]
    ours, count = stream_of(place, split, WORKERS), 8 if place.tiny else SAMPLES
    stock = stock_stream(split, {key: number for number, key in enumerate(keys)}, _tile(place), count)

    def check() -> None:
        expected = {sample.slot.record: sample for sample in ours(len(keys))}
        for number, frames, holes in stock():
            (ours_frames,), (ours_holes,) = to_device_batch([expected[number]], "cpu")
            assert torch.equal(holes, ours_holes), f"holes of {keys[number]} differ"
            assert (frames - ours_frames).abs().max() < 1e-6, f"frames of {keys[number]} differ"

    return Race(lambda: drain(ours(count)), lambda: drain(stock()), check, count, "sample")


def prepare_handover(place: Workplace) -> Race:
    split = packed(place)
    records, ours = Records(list_shards(split)), stream_of(place, split, WORKERS)
    count = 8 if place.tiny else SAMPLES
    slots = [(1, number, number % len(records)) for number in range(count)]
    sent = torch.utils.data.DataLoader(
        Samples(records, FRAMES, _tile(place), SEED),
        batch_size=None,
        sampler=slots,
        num_workers=WORKERS,
        persistent_workers=True,
    )

    def check() -> None:
        for mine, theirs in zip(ours(count), sent, strict=True):
            assert torch.equal(mine.frames, theirs.frames) and torch.equal(mine.holes, theirs.holes)

    return Race(lambda: drain(ours(count)), lambda: drain(iter(sent)), check, count, "sample")


def stock_stream(split: Path, numbers: dict[str, int], tile: int, count: int) -> Callable[[], Iterator]:
    """A function that gives `count` samples (record number, frames, holes) of `WebDataset(...).shuffle().decode()`."""
    import webdataset

    tars = [str(path) for path in sorted(split.glob("*.tar"))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = webdataset.WebDataset(tars, shardshuffle=False).shuffle(SHUFFLED).decode("rgb")
    data = data.map(partial(stock_sample, numbers, tile)).with_epoch(count // WORKERS)
    loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=WORKERS, persistent_workers=True)
    return lambda: islice(loader, count)


def stock_sample(
    numbers: dict[str, int], tile: int, sample: dict
) -> tuple[int, torch.Tensor, torch.Tensor]:  # record, float (T 3 S S), bool (T 1 S S)
    """The training sample from what webdataset decoded: all frames and masks, float (H W 3) in [0, 1]."""
    number = numbers[sample["__key__"]]
    draws = draw_params(generator(SEED, 1, number, "crop"))
    chosen = frame_indexes(sum(name.endswith("_m.png") for name in sample), FRAMES, draws)
    masks = torch.stack([torch.from_numpy(sample[f"{t:02d}_m.png"])[None, ..., 0] for t in chosen])  # (T 1 H W)
    frames = torch.stack([torch.from_numpy(sample[f"{t:02d}_c.webp"]).permute(2, 0, 1) for t in chosen])
    masks = textbook_grow(textbook_grow(masks, draws.outer, 1), draws.inner, -1)
    frames, holes = textbook_crop(frames, masks, tile, draws)
    return number, textbook_jitter(frames, draws.jitter).contiguous(), holes.contiguous()


def _tile(place):
    return 64 if place.tiny else TILE


GOAL = Goal(0.95 * WORKERS)
CASES = (
    Case("stream-workers", f"{WORKERS} workers / 1 worker, records in a folder", GOAL, prepare_workers),
    Case("stream-s3", f"{WORKERS} workers / 1 worker, ranged reads from a local S3 server", GOAL, prepare_s3),
    Case(
        "stream-webdataset",
        f"ours / WebDataset(...).shuffle({SHUFFLED}).decode('rgb') with the same crops, {WORKERS} workers each",
        Goal(2),
        prepare_webdataset,
    ),
    Case(
        "stream-handover",
        f"ours / the same samples transferred by torch's DataLoader, {WORKERS} workers each",
        None,
        prepare_handover,
    ),
)
