"""Who fills the strip best that opens at the frame's own edge: iw3's border, a stretched picture, or a network.

A shift moves the picture away from one edge of the frame. iw3 marks no hole there: its warp repeats the last column, or
stretches the picture with `preserve_screen_border`. Here the strip is cut off real frames, so that the truth is known.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if not __package__:  # run as a folder: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tools import cli
from tools.cli import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from model.light_video_inpaint import LightVideoInpaint
    from tools.evaluation.summary import Interval

    Fill = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

BORDER, STRETCHED = "border", "stretched"
RAMP = 1.5  # widths of the strip over which preserve_screen_border stretches: 0.75 of the divergence against 0.5


@dataclass(frozen=True)
class Config:
    """Compare fills of the strip that opens at the edge of a frame, on frames of which the strip is known."""

    ALIASES: ClassVar = {"data_dir": ("-i",)}
    data_dir: str = "data/eval"  # split whose records are measured, of films that the network never saw
    checkpoint: str = "base"  # the network: a file, or base
    widths: tuple[int, ...] = (4, 16, 48)  # widths of the strip, pixels
    tile: int = 256  # side of the part of a record that stands for the frame, pixels
    clips: int = 0  # number of records that are measured; 0: all
    seed: int = 0  # random seed of the confidence intervals

    def __post_init__(self):
        if min(self.widths) < 1 or self.tile < 64 or RAMP * max(self.widths) >= self.tile - max(self.widths):
            raise UserError(
                f"--widths {' '.join(map(str, self.widths))}, --tile {self.tile}: expected widths of 1 or more, and "
                f"a tile of 64 or more that is wider than {1 + RAMP:g} strips"
            )


def main() -> None:
    config = cli.parse(Config)
    import numpy as np

    from model.checkpoint import load_network
    from tools.evaluation.summary import interval

    fills = all_fills(load_network(config.checkpoint, "cpu"))
    found: dict[tuple[int, str], list[float]] = {}
    measured = parts(config)
    progress = cli.Progress(len(measured), "records", "edge study")
    for number, frames in enumerate(measured, 1):
        for width in config.widths:
            for name, fill in fills.items():
                found.setdefault((width, name), []).append(strip_psnr(frames, width, fill))
        progress.update(number)
    progress.close()
    if not found:
        raise UserError(f"{config.data_dir}: no record in it is {config.tile} pixels wide, expected at least one")
    for width in config.widths:
        rows = {name: np.array(found[width, name]) for name in fills}
        print(f"\nstrip of {width} px, PSNR in dB [95 % over clips], and against {BORDER}")
        for name, values in rows.items():
            gain = "" if name == BORDER else f"  {text(interval(values - rows[BORDER], config.seed), '+')}"
            print(f"{name:14}  {text(interval(values, config.seed))}{gain}")


def text(found: "Interval", sign: str = "") -> str:
    return f"{found.mean:{sign}.2f} [{found.low:{sign}.2f}, {found.high:{sign}.2f}]"


def parts(config: Config) -> "list[torch.Tensor]":
    """The frames of each measured record, float (12 3 S S): its left part, which stands for a frame's left edge."""
    import torch

    from pack.shards.record import decode
    from pack.shards.shard import list_shards, read_record

    found: list[torch.Tensor] = []
    shards = list_shards(Path(config.data_dir))
    for shard, entry in ((one, entry) for one in shards for entry in one.records):
        if config.clips and len(found) == config.clips:
            break
        record = decode(entry.key, read_record(shard, entry), range(2, 14))
        if min(record.frames.shape[1:3]) >= config.tile:
            part = record.frames[:, : config.tile, : config.tile].copy()
            found.append(torch.from_numpy(part).permute(0, 3, 1, 2).float() / 255)
    return found


def all_fills(network: "LightVideoInpaint") -> "dict[str, Fill]":
    """The fills by name: what iw3 does at the edge, the simple fills of evaluation, and the network."""
    from tools.evaluation.baselines import BASELINES, HAS_CV2

    simple = ("mirror", *(("navier-stokes", "telea") if HAS_CV2 else ()))
    fills = {BORDER: border, STRETCHED: stretched} | {name: BASELINES[name] for name in simple}
    return fills | {"network": network.infer}


def border(frames: "torch.Tensor", holes: "torch.Tensor") -> "torch.Tensor":  # (T 3 H W), (T 1 H W) -> (T 3 H W)
    """The first visible column, repeated: what sampling beyond the border gives."""
    from train.evaluation.fills import replicate

    return replicate(frames, holes)


def stretched(frames: "torch.Tensor", holes: "torch.Tensor") -> "torch.Tensor":  # as `border`
    """The RAMP strips beside the strip, stretched over both, bilinear: iw3's preserve_screen_border."""
    import torch

    width, side = int(holes[0, 0, 0].sum()), frames.shape[-1]
    x = torch.arange(side, dtype=torch.float32)
    ramp = width * RAMP
    source = torch.where(x < width + ramp, width + x * ramp / (width + ramp), x)
    left = source.floor().long().clamp(max=side - 1)
    share = source - left
    return frames[..., left] * (1 - share) + frames[..., (left + 1).clamp(max=side - 1)] * share


def strip_psnr(frames: "torch.Tensor", width: int, fill: "Fill") -> float:  # (T 3 S S)
    """PSNR of a fill in the first `width` columns, which it does not see, dB."""
    import torch

    holes = torch.zeros(len(frames), 1, *frames.shape[-2:], dtype=torch.bool)
    holes[..., :width] = True
    filled = fill(frames.masked_fill(holes, 0), holes)
    if not filled.isfinite().all():
        raise UserError("the output of the network is not finite: pass an earlier --checkpoint")
    error = (filled[..., :width].clamp(0, 1) - frames[..., :width]).square().mean()
    return float(-10 * torch.log10(error.clamp(min=1e-10)))


if __name__ == "__main__":
    cli.run(main)
