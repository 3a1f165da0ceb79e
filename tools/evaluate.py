"""Measures how well networks fill holes: against ground truth and baselines, by hole width, with intervals."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli
from tools.cli import UserError, one_line, plural
from tools.evaluation.summary import MOTIONS, WIDTHS

if TYPE_CHECKING:  # torch takes seconds to import, which --help must not wait for
    import torch

    from pack.shards.shard import Entry, Index
    from tools.evaluation.methods import Method
    from tools.evaluation.perception import Lpips
    from tools.evaluation.summary import Rows

MIN_PIXELS = 64  # of a width class in a clip; with fewer the class is not measured in this clip
FULL_WIDTH = 1920
NOT_MEASURED = {"iw3_frames": 0, "iw3_psnr": 0, "iw3_hole_psnr": 0}  # of a clip that a method is not measured on


@dataclass(frozen=True)
class Config:
    """Measure checkpoints and baselines (simple fills) on a split, and write a report."""

    ALIASES: ClassVar = {"data": ("-i",), "out": ("-o",)}
    checkpoint: tuple[str, ...] = ()  # weight files or training checkpoints, ours or iw3's, or base
    # (default: none, measure baselines only)
    weights: Literal["averaged", "raw"] = "averaged"  # which weights of a checkpoint that averages them
    data: str = "data/eval"  # split to measure on: folder or URL
    out: str = "evaluation"  # output folder for report.html, metrics.json and metrics.csv
    baselines: tuple[str, ...] = ("all",)  # all, none, or names of baselines
    tile: int = 256  # side of the tile of each record that is used, pixels: the tile with the most hole pixels;
    # its outer 16 pixels are context and not measured
    exclude: str = ""  # file with keys of records to leave out, one per line, in addition to the split's excluded.txt
    records: int = 0  # number of records, evenly spaced over the split (0: all)
    pictures: int = 4  # number of clips shown in the report
    weights_dir: str | None = None  # folder with the AlexNet weights of LPIPS (default: torch's hub cache)
    device: str = "auto"  # auto, cpu or cuda
    seed: int = 0  # random seed of the confidence intervals and of the untrained network

    def __post_init__(self):
        for name, minimum in (("tile", 64), ("records", 0), ("pictures", 0)):
            if getattr(self, name) < minimum:
                raise UserError(f"--{name} {getattr(self, name)}: expected {minimum} or more")


@dataclass(frozen=True)
class Clip:
    """The tile of a record that is measured. T is 16 where the record has that many frames, else 12."""

    key: str
    video: str
    scale: float  # pixels at 1080p per pixel of the record
    frames: "torch.Tensor"  # float (T 3 S S) in [0, 1]
    holes: "torch.Tensor"  # bool (T 1 S S)
    widths: "torch.Tensor"  # float (12 1 S-32 S-32): width at 1080p of the hole that each measured pixel lies in


def main() -> None:
    config = cli.parse(Config)
    from model.device import choose_device
    from tools.evaluation.methods import choose_baselines, load_methods
    from tools.evaluation.report import write_report

    device = choose_device(config.device, 0)
    shards, excluded = list_used_shards(config.data, config.exclude)
    records = choose_records(shards, config.records, config.data)
    baselines, notes = choose_baselines(config.baselines)
    methods = [*load_methods(config.checkpoint, device, config.seed, config.weights), *baselines]
    lpips, missing = find_lpips(config, device)
    rows, pictures, unmeasured = measure_all(records, methods, lpips, device, config)
    notes = [*excluded, *notes, *missing, *unmeasured, *rows.left_out()]
    write_report(Path(config.out), rows, methods, pictures, notes, asdict(config))


def list_used_shards(data: str, exclude: str) -> "tuple[list[Index], list[str]]":
    """The shards of a split without its excluded records, and a line for each list that excluded some."""
    from pack.shards.exclusion import leave_out_listed, left_out_keys, read_keys, unknown_keys
    from pack.shards.shard import list_shards
    from pack.shards.store import parse_location

    others = read_keys(Path(exclude)) if exclude else frozenset()
    split = parse_location(data)
    shards, lines = leave_out_listed(split, list_shards(split), others)
    return shards, lines + unknown_keys(Path(exclude), others - left_out_keys(shards))


def choose_records(shards: "Sequence[Index]", count: int, data: str) -> "list[tuple[Index, Entry]]":
    """All records of the shards (count 0), or `count` of them from first to last. Raises UserError without any."""
    records = [(shard, entry) for shard in shards for entry in shard.records]
    if not records:
        raise UserError(f"{data}: its shards hold no record: pack a video with holes, see make shards")
    count = min(count or len(records), len(records))
    return [records[round(i * (len(records) - 1) / max(count - 1, 1))] for i in range(count)]


def find_lpips(config: Config, device: "torch.device") -> "tuple[Lpips | None, list[str]]":
    """LPIPS, or None and a line that says why it is left out."""
    from tools.evaluation.perception import load_lpips

    try:
        return load_lpips(config.weights_dir, device), []
    except UserError as error:
        return None, [f"LPIPS is left out: {error}"]


def measure_all(
    records: "Sequence[tuple[Index, Entry]]",
    methods: "Sequence[Method]",
    lpips: "Lpips | None",
    device: "torch.device",
    config: Config,
) -> "tuple[Rows, list[tuple[str, dict[str, torch.Tensor]]], list[str]]":
    """The measures of all methods on all clips, (key, outputs) of the clips to show, and a line per unmeasured record.

    Raises UserError when no record can be measured.
    """
    from tools.evaluation.summary import Rows

    rows = Rows({method.name: [] for method in methods}, [], config.seed)
    pictures, unmeasured = [], []
    progress = cli.Progress(len(records), "records")
    shown = {i * len(records) // max(config.pictures, 1) for i in range(config.pictures)}
    for number, (shard, entry) in enumerate(records):
        clip = read_clip(shard, entry, config.tile, device)
        if isinstance(clip, Clip):
            outputs = measure_clip(clip, methods, lpips, rows)
            if number in shown:
                pictures.append((clip.key, outputs))
        else:
            unmeasured.append(clip)
            print(clip, file=sys.stderr)
        progress.update(number + 1)
    progress.close()
    if not rows.clips:
        none = f"none of {plural(len(records), 'record')} can be measured"
        raise UserError(f"{config.data}: {none}, the last one because: {unmeasured[-1]}")
    return rows, pictures, unmeasured


def read_clip(shard: "Index", entry: "Entry", tile: int, device: "torch.device | str") -> Clip | str:
    """The clip of a record, at the tile that evaluation in training uses, or a line that says why there is none."""
    import torch

    from pack.shards.record import decode, frame_count
    from pack.shards.shard import read_record
    from tools.evaluation.methods import STREAM
    from tools.evaluation.quality import hole_widths
    from train.data.crop import DoesNotFit, choose_tile, frame_indexes
    from train.evaluation.evaluate import trim

    try:
        members = read_record(shard, entry)
        available = frame_count(entry.key, members)
        record = decode(entry.key, members, frame_indexes(available, STREAM if available >= STREAM else 12, None))
    except DoesNotFit:  # the tile is larger than the record: --tile is wrong, not the record
        raise
    except (UserError, OSError) as error:
        return f"{entry.key} is left out: {one_line(error)}"
    middle = middle_of(len(record.frames))
    masks = torch.from_numpy(record.masks)
    y, x = choose_tile(masks[middle], tile, None)
    holes = masks[:, None, y : y + tile, x : x + tile] > 0
    if not trim(holes[middle]).any():
        return f"{entry.key} is left out: it has no hole where it is measured"
    scale = FULL_WIDTH / max(record.info.get("frame_size", [FULL_WIDTH]))
    widths = hole_widths(masks[middle, None] > 0)[..., y : y + tile, x : x + tile] * scale
    frames = torch.from_numpy(record.frames[:, y : y + tile, x : x + tile].copy()).permute(0, 3, 1, 2).float() / 255
    video = str(record.info.get("video") or shard.source.get("video") or shard.name)
    return Clip(entry.key, video, scale, frames.to(device), holes.to(device), trim(widths).to(device))


def middle_of(frames: int) -> slice:
    """The 12 frames in the middle, which are measured; frames around them only give a method context."""
    return slice((frames - 12) // 2, (frames + 12) // 2)


def measure_clip(
    clip: Clip, methods: "Sequence[Method]", lpips: "Lpips | None", rows: "Rows"
) -> "dict[str, torch.Tensor]":
    """Add a clip's measures to the rows; return the masked input, the ground truth and each method's output by name."""
    from tools.evaluation.quality import Truth, iw3_psnr, measure
    from train.evaluation.evaluate import trim

    middle = middle_of(len(clip.frames))
    truth = Truth.of(trim(clip.frames[middle]), trim(clip.holes[middle]))
    classes = holes_by_width(clip.widths)
    outputs = {"holes": truth.frames.masked_fill(truth.holes, 0), "truth": truth.frames}
    for method in methods:
        if method.frames > len(clip.frames):  # a record of 12 frames cannot be streamed with context
            rows.values[method.name].append(dict(NOT_MEASURED))
            rows.too_short.setdefault(method.name, []).append(clip.key)
            continue
        taken = slice(None) if method.frames == len(clip.frames) else middle
        filled = method(clip.frames[taken].masked_fill(clip.holes[taken], 0), clip.holes[taken])
        output = trim(filled[middle] if taken != middle else filled)
        if not output.isfinite().all():
            rows.values[method.name].append(dict(NOT_MEASURED))
            rows.broken.setdefault(method.name, []).append(clip.key)
            continue
        found = measure(output, truth, lpips, classes)
        found |= {f"iw3_{name}": value for name, value in iw3_psnr(output, truth.frames, truth.holes).items()}
        rows.values[method.name].append(found)
        outputs[method.name] = output
    speed = truth.speed * clip.scale
    motion = next(name for name, maximum in MOTIONS.items() if speed <= maximum)
    rows.clips.append({"key": clip.key, "video": clip.video, "motion": motion, "speed": speed})
    return outputs


def holes_by_width(widths: "torch.Tensor") -> "Mapping[str, torch.Tensor]":  # (T 1 H W) -> bool (T 1 H W) by name
    """The hole pixels of each width class that has enough of them in the clip."""
    classes = {name: (widths > above) & (widths <= maximum) for name, (above, maximum) in WIDTHS.items()}
    return {name: where for name, where in classes.items() if where.sum() >= MIN_PIXELS}


if __name__ == "__main__":
    cli.run(main)
