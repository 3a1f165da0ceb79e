"""Runs all networks and some simple fills on records and on rendered scenes in turn, until done or time is up."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from pack.shards.index import Entry, Index
from pack.shards.record import decode
from pack.shards.shard import read_record
from tools.arena.boards import Board
from tools.cli import Progress, UserError, plural
from tools.evaluate import list_used_shards
from tools.evaluation.clips import Clip, measure_clip, read_clip
from tools.evaluation.methods import Method
from tools.evaluation.summary import Rows
from tools.stereo_truth.compare import Case, Found, Shown, measure_scene, to_pixels
from tools.stereo_truth.scenes import render_scene
from train.data.crop import DoesNotFit

WARP = "forward"
LEAST = 2  # clips of each source, because intervals come from several
TRUTH_BOARDS = {"uncovered_psnr": "PSNR in uncovered pixels, dB", "band_psnr": "PSNR in the band of 8 px, dB"}


@dataclass
class Split:
    """An ordinary split: pixels hidden in a flat picture."""

    data: str
    rows: Rows
    places: list[tuple[Index, Entry]]  # that were not measured yet, the next one last
    total: int
    shown: list[Shown] = field(default_factory=list)
    size: tuple[str, tuple[int, int]] | None = None  # key of the first record, and its height and width

    @property
    def done(self) -> int:
        return len(self.rows.clips)


@dataclass
class Truth:
    """Rendered scenes: a true second eye."""

    found: Found
    textures: Sequence[np.ndarray]
    depths: Sequence[str]
    size: int
    numbers: list[int]  # of the scenes that were not measured yet, the next one last
    total: int
    seed: int

    @property
    def done(self) -> int:
        return len(self.found.rows.clips)


def open_split(data: str, methods: Sequence[Method], seed: int) -> Split:
    """A split whose records come in an order drawn by seed. Raises UserError where it has too few."""
    shards, _ = list_used_shards(data, "")
    places = [(shard, entry) for shard in shards for entry in shard.records]
    if len(places) < LEAST:
        raise UserError(f"{data} holds {plural(len(places), 'record')}, expected {LEAST} or more: pack more clips")
    order = np.random.default_rng(seed).permutation(len(places))
    rows = Rows({method.name: [] for method in methods}, [], seed)
    return Split(data, rows, [places[n] for n in order[::-1]], len(places))


def open_truth(
    textures: Sequence[np.ndarray],
    depths: Sequence[str],
    scenes: int,
    size: int,
    methods: Sequence[Method],
    seed: int,
) -> Truth:
    """Scenes that come in an order drawn by seed."""
    names = ["left eye", *(method.name for method in methods), "perfect fill"]
    cases = [Case(depth, WARP, name) for depth in depths for name in names]
    found = Found(Rows({str(case): [] for case in cases}, [], seed), cases)
    order = np.random.default_rng(seed).permutation(scenes)
    return Truth(found, textures, depths, size, [int(n) for n in order[::-1]], scenes, seed)


def contest(
    sources: Sequence[Split | Truth],
    methods: Sequence[Method],
    tile: int,
    pictures: int,
    device: torch.device,
    deadline: float,
) -> None:
    """Measure one clip of each source in turn, until all are done, or until the deadline (time.monotonic).

    At least LEAST clips of each source are measured, even after the deadline. Raises UserError for a split with
    records of several sizes, and for a source of which too few clips can be measured.
    """
    total = sum(source.total for source in sources)
    progress = Progress(total, "clips", "arena")
    for number, source in enumerate(turns(sources, deadline)):
        if isinstance(source, Split):
            measure_record(source, methods, tile, pictures, device)
        else:
            measure_next_scene(source, methods, tile, pictures, device)
        progress.update(number + 1)
    progress.close()
    for source in sources:
        if source.done < LEAST:
            name = source.data if isinstance(source, Split) else "rendered truth"
            raise UserError(
                f"{name}: {plural(source.done, 'clip')} of {source.total} can be measured, expected {LEAST} or more"
            )


def turns(sources: Sequence[Split | Truth], deadline: float) -> Iterator[Split | Truth]:
    """The sources in turn while they have clips; after the deadline only those with fewer than LEAST."""
    while True:
        late = time.monotonic() > deadline
        open_ones = [source for source in sources if left_of(source) and (not late or source.done < LEAST)]
        if not open_ones:
            return
        yield min(open_ones, key=lambda source: source.total - len(left_of(source)))


def left_of(source: Split | Truth) -> list:
    """What was not measured yet."""
    return source.places if isinstance(source, Split) else source.numbers


@torch.inference_mode()
def measure_record(split: Split, methods: Sequence[Method], tile: int, pictures: int, device: torch.device) -> None:
    """Measure the next record of a split; one that cannot be read or has no hole is passed over."""
    shard, entry = split.places.pop()
    try:
        clip = read_clip(shard, entry, tile, device)
    except DoesNotFit:
        check_size(split, shard, entry)
        raise
    if not isinstance(clip, Clip):
        return
    check_size(split, shard, entry)
    outputs = measure_clip(clip, methods, None, split.rows)
    refuse_broken(split.rows)
    values = [split.rows.values[m.name][-1]["hole_psnr"] for m in methods if m.name != "empty"]
    shown = {name: to_pixels(frames) for name, frames in outputs.items()}
    split.shown.append(Shown(clip.key, max(values) - min(values), shown))
    split.shown.sort(key=lambda one: -one.gap)
    del split.shown[pictures:]


def check_size(split: Split, shard: Index, entry: Entry) -> None:
    """Raise UserError for a record of another size than the split's first one."""
    record = decode(entry.key, read_record(shard, entry), [0])
    size = record.frames.shape[1:3]
    key, expected = split.size or (entry.key, size)
    split.size = (key, expected)
    if size != expected:
        raise UserError(
            f"{split.data} mixes records of {expected[1]}x{expected[0]} ({key}) and {size[1]}x{size[0]} ({entry.key}), "
            "expected one size: put them into splits of their own"
        )


def measure_next_scene(truth: Truth, methods: Sequence[Method], tile: int, pictures: int, device: torch.device) -> None:
    number = truth.numbers.pop()
    scene = render_scene(1000 * truth.seed + number, number, truth.textures, truth.size)
    measure_scene(scene, truth.found, truth.depths, (WARP,), methods, tile, pictures, device)
    refuse_broken(truth.found.rows)


def refuse_broken(rows: Rows) -> None:
    """Raise UserError where a method's output was not finite: a ranking compares all methods on the same clips."""
    if rows.broken:
        name, clips = next(iter(rows.broken.items()))
        raise UserError(f"{name}: its output is not finite in {clips[0]}: leave it out, or use an earlier checkpoint")


def boards_of(sources: Sequence[Split | Truth], methods: Sequence[Method]) -> list[Board]:
    """The boards; rendered scenes come first, because they are the more important measure."""
    boards = []
    for source in sorted(sources, key=lambda source: isinstance(source, Split)):
        if isinstance(source, Split):
            values = {m.name: source.rows.column(m.name, "hole_psnr") for m in methods}
            boards.append(Board(source.data, "PSNR in holes, dB", False, values, source.rows.seed))
            continue
        for depth in source.depths:
            for measure, title in TRUTH_BOARDS.items():
                rows = source.found.rows
                values = {m.name: rows.column(str(Case(depth, WARP, m.name)), measure) for m in methods}
                values = keep_measured(values)
                boards.append(Board(f"rendered, {depth} depth", title, True, values, rows.seed))
    return boards


def keep_measured(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Without the clips of which some method has no value."""
    known = ~np.isnan(np.stack(list(values.values()))).any(0)
    return {name: column[known] for name, column in values.items()}
