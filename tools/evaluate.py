"""Says how good a network fills: against the truth, against simple fills, by width of the holes, with intervals."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli
from tools.cli import UserError
from tools.evaluation.summary import WIDTHS

if TYPE_CHECKING:
    import torch

    from tools.evaluation.methods import Method
    from tools.evaluation.summary import Rows

MOTIONS = {"still": 1, "slow": 8, "fast": math.inf}  # up to so many pixels a frame at 1080p
LEAST = 64  # pixels of a class of widths, less of which in a clip are not measured
FULL_WIDTH = 1920


@dataclass(frozen=True)
class Config:
    """Measure checkpoints and simple fills on a split, and write a report."""

    ALIASES: ClassVar = {"data": ("-i",), "out": ("-o",)}
    checkpoint: tuple[str, ...] = ()  # weight files or training checkpoints, ours or iw3's, or base;
    # none: only simple fills
    data: str = "data/eval"  # a split: folder or URL
    out: str = "evaluation"  # folder that gets report.html, metrics.json and metrics.csv
    baselines: tuple[str, ...] = ("all",)  # all, none, or names of simple fills
    tile: int = 256  # pixels of a record that are used, where it has the most holes; 16 at each side only give context
    exclude: str = ""  # file with keys of records to leave out, one a line, besides excluded.txt in the split
    records: int = 0  # how many records, evenly spaced (default: all)
    pictures: int = 4  # how many clips the report shows
    weights_dir: str | None = None  # folder with the AlexNet of LPIPS (default: torch's hub cache)
    device: str = "auto"  # auto, cpu or cuda
    seed: int = 0  # of the intervals and of the untrained network

    def __post_init__(self):
        if self.tile < 64 or self.records < 0 or self.pictures < 0:
            raise UserError("expected --tile of 64 or more, --records and --pictures of 0 or more")


@dataclass(frozen=True)
class Clip:
    """What is measured of a record. T is 16 where the record has so many frames, else 12."""

    key: str
    video: str
    scale: float  # of a pixel to one at 1080p
    frames: "torch.Tensor"  # float (T 3 S S) in [0, 1]
    holes: "torch.Tensor"  # bool (T 1 S S)
    widths: "torch.Tensor"  # float (12 1 S-32 S-32): of the hole that each pixel of the middle lies in, at 1080p


def main() -> None:
    config = cli.parse(Config)
    from model.device import choose_device
    from tools.evaluation.methods import choose_baselines, load_methods
    from tools.evaluation.report import write_report

    device = choose_device(config.device, 0)
    shards, left_out = list_used(config.data, config.exclude)
    places = choose_places(shards, config.records, config.data)
    fills, notes = choose_baselines(config.baselines)
    methods = [*load_methods(config.checkpoint, device, config.seed), *fills]
    lpips, missing = find_lpips(config, device)
    rows, pictures, faults = compare(places, methods, lpips, device, config)
    write_report(Path(config.out), rows, methods, pictures, [*left_out, *notes, *missing, *faults], config)


def list_used(data: str, exclude: str) -> tuple[list, list[str]]:
    """The shards of a split without its excluded records, and in words what was left out."""
    from pack.shards.exclusion import leave_out_listed, left_out_keys, read_keys, unknown_keys
    from pack.shards.shard import list_shards
    from pack.shards.store import parse_location

    others = read_keys(Path(exclude)) if exclude else frozenset()
    split = parse_location(data)
    shards, lines = leave_out_listed(split, list_shards(split), others)
    return shards, lines + unknown_keys(Path(exclude), others - left_out_keys(shards))


def choose_places(shards, count, data) -> list:
    """(index, entry) of all records, or of `count` from first to last."""
    places = [(shard, entry) for shard in shards for entry in shard.records]
    if not places:
        raise UserError(f"{data}: its shards hold no record: pack a video with holes, see make shards")
    count = min(count or len(places), len(places))
    return [places[round(i * (len(places) - 1) / max(count - 1, 1))] for i in range(count)]


def find_lpips(config: Config, device):
    """LPIPS, or None and the reason why it is left out."""
    from tools.evaluation.perception import load_lpips

    try:
        return load_lpips(config.weights_dir, device), []
    except ValueError as error:
        return None, [f"LPIPS is left out: {error}"]


def compare(places, methods: "list[Method]", lpips, device, config: Config):
    """The measures of all methods on all clips, filled frames of a few clips, and in words what was left out.

    Raises UserError when no record has a hole.
    """
    from tools.evaluation.summary import Rows

    rows = Rows({method.name: [] for method in methods}, [], config.seed)
    pictures, faults = [], []
    progress = cli.Progress(len(places), "records")
    shown = {i * len(places) // max(config.pictures, 1) for i in range(config.pictures)}
    for number, (shard, entry) in enumerate(places):
        clip = read_clip(shard, entry, config.tile, device)
        if isinstance(clip, Clip):
            outputs = measure_clip(clip, methods, lpips, rows)
            if number in shown:
                pictures.append((clip.key, outputs))
        else:
            faults.append(clip)
            print(clip, file=sys.stderr)
        progress.update(number + 1)
    progress.close()
    if not rows.clips:
        raise UserError(f"{config.data}: none of {len(places)} records can be measured, the last: {faults[-1]}")
    return rows, pictures, faults


def read_clip(shard, entry, tile: int, device) -> Clip | str:
    """The clip of a record at the tile that evaluation in training uses, or why there is none."""
    import torch

    from pack.shards.record import decode, frame_count
    from pack.shards.shard import read_record
    from tools.evaluation.methods import STREAM
    from tools.evaluation.quality import hole_widths
    from train.data.crop import DoesNotFit, choose_tile, frame_indexes
    from train.data.samples import UNUSABLE
    from train.evaluation.evaluate import trim

    try:
        members = read_record(shard, entry)
        available = frame_count(entry.key, members)
        record = decode(entry.key, members, frame_indexes(available, STREAM if available >= STREAM else 12, None))
    except DoesNotFit:
        raise
    except UNUSABLE as error:
        return f"{entry.key} is left out: {' '.join(str(error).split())}"
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
    """The 12 frames that are measured, whatever context a method gets."""
    return slice((frames - 12) // 2, (frames + 12) // 2)


def measure_clip(clip: Clip, methods: "list[Method]", lpips, rows: "Rows") -> "dict[str, torch.Tensor]":
    """Add a clip's measures to the rows and return the outputs by method, with the masked input and the truth."""
    from tools.evaluation.quality import Truth, iw3_psnr, measure
    from train.evaluation.evaluate import trim

    middle = middle_of(len(clip.frames))
    truth = Truth.of(trim(clip.frames[middle]), trim(clip.holes[middle]))
    parts = parts_by_width(clip.widths)
    outputs = {"holes": truth.frames.masked_fill(truth.holes, 0), "truth": truth.frames}
    for method in methods:
        if method.frames > len(clip.frames):  # a record of 12 frames cannot be streamed with context
            rows.values[method.name].append(dict.fromkeys(("iw3_frames", "iw3_psnr", "iw3_hole_psnr"), 0))
            continue
        taken = slice(None) if method.frames == len(clip.frames) else middle
        filled = method(clip.frames[taken].masked_fill(clip.holes[taken], 0), clip.holes[taken])
        output = trim(filled[middle] if taken != middle else filled)
        found = measure(output, truth, lpips, parts)
        found |= {f"iw3_{name}": value for name, value in iw3_psnr(output, truth.frames, truth.holes).items()}
        rows.values[method.name].append(found)
        outputs[method.name] = output
    speed = truth.speed * clip.scale
    motion = next(name for name, most in MOTIONS.items() if speed <= most)
    rows.clips.append({"key": clip.key, "video": clip.video, "motion": motion, "speed": speed})
    return outputs


def parts_by_width(widths) -> "dict[str, torch.Tensor]":  # (T 1 H W) -> bool (T 1 H W) by name
    """The pixels of holes of each class of widths, of those classes that the clip has."""
    parts = {name: (widths > above) & (widths <= most) for name, (above, most) in WIDTHS.items()}
    return {name: where for name, where in parts.items() if where.sum() >= LEAST}


if __name__ == "__main__":
    cli.run(main)
