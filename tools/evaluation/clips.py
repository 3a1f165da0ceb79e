"""A clip of a split that is measured: what is read of its record, and the measures of all methods on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from pack.holes.kinds import kind_of
from pack.holes.placement import crossed_share
from pack.shards.record import decode, frame_count, size_in
from pack.shards.shard import Entry, Index, read_record
from tools.cli import UserError, is_shortage, one_line
from tools.evaluation.methods import Method
from tools.evaluation.network_fill import STREAM, middle_of
from tools.evaluation.perception import Lpips
from tools.evaluation.quality import Region, Truth, hole_widths, measure
from tools.evaluation.summary import MOTIONS, PLACEMENTS, WIDTHS, Rows
from train.data.crop import DoesNotFit, choose_tile, frame_indexes
from train.evaluation.evaluate import trim

MIN_PIXELS = 64  # of a width class in a clip; with fewer the class is not measured in this clip
FULL_WIDTH = 1920
NOT_MEASURED = {"iw3_frames": 0, "iw3_psnr": 0, "iw3_hole_psnr": 0}  # of a clip that a method is not measured on


@dataclass(frozen=True)
class Clip:
    """The tile of a record that is measured. T is 16 where the record has that many frames, else 12."""

    key: str
    video: str
    kind: str  # of its holes, one of pack.holes.kinds
    crossed: float  # share of its hole pixels, see pack.holes.placement.crossed_share
    scale: float  # pixels at 1080p per pixel of the record
    frames: torch.Tensor  # float (T 3 S S) in [0, 1]
    holes: torch.Tensor  # bool (T 1 S S)
    widths: torch.Tensor  # float (12 1 S-32 S-32): width at 1080p of the hole that each measured pixel lies in


def read_clip(shard: Index, entry: Entry, tile: int, device: torch.device | str) -> Clip | str:
    """The clip of a record, at the tile that evaluation in training uses, or a line that says why there is none."""
    try:
        members = read_record(shard, entry)
        available = frame_count(entry.key, members)
        record = decode(entry.key, members, frame_indexes(available, STREAM if available >= STREAM else 12, None))
    except DoesNotFit:  # the tile is larger than the record: --tile is wrong, not the record
        raise
    except (UserError, OSError) as error:
        if is_shortage(error):
            raise
        return f"{entry.key} is left out: {one_line(error)}"
    middle = middle_of(len(record.frames))
    masks = torch.from_numpy(record.masks)
    y, x = choose_tile(masks[middle], tile, None)
    holes = masks[:, None, y : y + tile, x : x + tile] > 0
    if not trim(holes[middle]).any():
        return f"{entry.key} is left out: it has no hole where it is measured"
    scale = FULL_WIDTH / max(size_in(record.info, "frame_size") or (FULL_WIDTH,))
    widths = hole_widths(masks[middle, None] > 0)[..., y : y + tile, x : x + tile] * scale
    tiles = record.frames[:, y : y + tile, x : x + tile]
    crossed = crossed_share(tiles[middle], holes[middle, 0].numpy())
    frames = torch.from_numpy(tiles.copy()).permute(0, 3, 1, 2).float() / 255
    named = (record.info.get("video"), shard.source.get("video"), shard.name)
    video = next(name for name in named if name and isinstance(name, str))
    tensors = frames.to(device), holes.to(device), trim(widths).to(device)
    return Clip(entry.key, video, kind_of(record.info), crossed, scale, *tensors)


def measure_clip(clip: Clip, methods: Sequence[Method], lpips: Lpips | None, rows: Rows) -> dict[str, torch.Tensor]:
    """Add a clip's measures to the rows; return the masked input, the ground truth and each method's output by name."""
    middle = middle_of(len(clip.frames))
    truth = Truth.of(trim(clip.frames[middle]), trim(clip.holes[middle]))
    classes = {name: Region.of(where) for name, where in holes_by_width(clip.widths).items()}
    masked = clip.frames.masked_fill(clip.holes, 0)
    outputs = {"holes": truth.frames.masked_fill(truth.holes, 0), "truth": truth.frames}
    for method in methods:
        if method.frames > len(clip.frames):  # a record of 12 frames cannot be streamed with context
            rows.values[method.name].append(dict(NOT_MEASURED))
            rows.too_short.setdefault(method.name, []).append(clip.key)
            continue
        taken = slice(None) if method.frames == len(clip.frames) else middle
        output = method.measured(masked[taken], clip.holes[taken])
        if not output.isfinite().all():
            rows.values[method.name].append(dict(NOT_MEASURED))
            rows.broken.setdefault(method.name, []).append(clip.key)
            continue
        rows.values[method.name].append(measure(output, truth, lpips, classes))
        outputs[method.name] = output
    speed = truth.speed * clip.scale
    motion = next(name for name, maximum in MOTIONS.items() if speed <= maximum)
    about: dict[str, str | float] = {
        "key": clip.key,
        "video": clip.video,
        "kind": clip.kind,
        "placement": next(name for name, maximum in PLACEMENTS.items() if clip.crossed <= maximum),
        "crossed": clip.crossed,
        "motion": motion,
        "speed": speed,
    }
    rows.clips.append(about)
    return outputs


def holes_by_width(widths: torch.Tensor) -> Mapping[str, torch.Tensor]:  # (T 1 H W) -> bool (T 1 H W) by name
    """The hole pixels of each width class that has enough of them in the clip."""
    classes = {name: (widths > above) & (widths <= maximum) for name, (above, maximum) in WIDTHS.items()}
    return {name: where for name, where in classes.items() if where.sum() >= MIN_PIXELS}
