"""Makes a stereo film of a flat one: depth, the right eye's view, its holes filled; sound and timestamps are kept."""

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli
from tools.cli import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from fractions import Fraction

    import numpy as np
    import torch

    from pack.depth.models import DepthEstimator
    from pack.film_depth import FilmDepth
    from tools.evaluation.baselines import Fill


@dataclass(frozen=True)
class Config:
    """Convert a whole film to stereo."""

    ALIASES: ClassVar = {"out": ("-o",), "video": ("-i",)}
    video: str = ""  # film to convert (required)
    checkpoint: str = ""  # weight file or training checkpoint, ours or iw3's, or base; without it a simple fill is used
    weights: Literal["averaged", "raw"] = "averaged"  # which weights of a checkpoint that averages them
    out: str = ""  # output film, .mp4, .mov or .mkv (default: NAME_LAYOUT.mp4 in the current folder)
    divergence: float = 2.5  # strength: disparity between nearness 0 and 1 in percent of the longer side
    convergence: float = 0.5  # nearness that appears at the depth of the screen
    layout: Literal["sbs", "half-sbs", "tab", "half-tab", "anaglyph", "right"] = "sbs"  # both eyes side by side or the
    # left one on top, half-: each at half its size; red and cyan; or the right eye alone
    compare: bool = False  # instead of stereo: empty holes, simple fill and network side by side
    baseline: str = ""  # simple fill, as in evaluation (default: navier-stokes where OpenCV is, else replicate)
    model_type: str = "Motion"  # depth model, as for packing
    depth: str = ""  # depth from files instead of a model, as for packing
    depth_large: Literal["auto", "near", "far"] = "auto"  # what large values in depth files mean
    depth_metric: Literal["auto", "yes", "no"] = "auto"  # whether values in depth files are metres or linear in them
    depth_range: Literal["minmax", "robust", "given"] = "minmax"  # nearness 0 and 1 follow the extremes of the frames,
    # their percentiles 0.5 and 99.5, or are those of the depth files
    resolution: int | None = None  # short side of the depth model's input, pixels (default: the model's own)
    mapper: str = "auto"  # curve from nearness to disparity: none, or div_6 for metric models
    inner_dilation: int = 1  # pixels of the depth map by which holes grow to the left
    outer_dilation: int = 2  # pixels of the depth map by which holes grow to the right
    deinterlace: Literal["auto", "on", "off"] = "auto"  # auto: interlaced and telecined frames; on: all; off: none
    seconds: float = 0  # convert only the first seconds of the film (0: all of it)
    crf: int = 18  # quality of libx264, smaller is better
    sound: Literal["auto", "copy", "convert", "none"] = "auto"  # auto: converted only where OUT cannot hold it as it is
    device: str = "auto"  # auto, cpu or cuda

    def __post_init__(self):
        if not self.video:
            raise UserError("--video is missing: pass the film to convert")
        if not 0 < self.divergence <= 25 or self.seconds < 0 or not 0 <= self.crf <= 51:
            raise UserError("expected --divergence above 0 and up to 25, --seconds of 0 or more and --crf of 0 to 51")
        if self.depth_range == "given" and not self.depth:
            raise UserError("--depth-range given needs the files of --depth: pass both")
        if min(self.inner_dilation, self.outer_dilation) < 0:
            raise UserError("expected --inner-dilation and --outer-dilation of 0 or more")


def main() -> None:
    config = cli.parse(Config)
    signal.signal(signal.SIGTERM, end)
    import torch

    from model.device import choose_device
    from pack.depth.models import load_depth
    from pack.film_depth import DepthOptions, open_depth
    from pack.video.reader import probe
    from pack.video.tracks import plan_tracks
    from pack.video.writer import FilmWriter
    from train.runtime.memory import keep_freed_memory

    video = probe(Path(config.video))
    device = choose_device(config.device, 0)
    if device.type == "cpu":
        keep_freed_memory()
    fills = choose_fills(config, device)
    out = Path(config.out or f"{video.path.stem}_{'compare' if config.compare else config.layout}.mp4")
    if out.exists() and out.samefile(video.path):
        raise UserError(f"{out} is the film itself: pass another -o")
    tracks = plan_tracks(video.path, out, config.sound)
    if config.depth:
        model = open_depth(config.depth, video, DepthOptions(config.depth_large, config.depth_metric))
    else:
        model = load_depth(config.model_type, config.resolution, device)
    total = min(video.frames, round(config.seconds * video.fps) or video.frames)
    print(f"{video.path} -> {out}: {cli.plural(total, 'frame')} of {video.width}x{video.height}")
    if config.checkpoint:
        kind = "averaged weights, where it has them" if config.weights == "averaged" else "raw weights"
        print(f"  network: {config.checkpoint}, its {kind}", flush=True)
    for track in tracks:
        print(f"  {track}", flush=True)
    progress = cli.Progress(total, "frames", video.path.name, every=10)
    frames = 0
    with FilmWriter(out, video, config.crf, not config.seconds, tracks) as film, torch.inference_mode():
        for seconds, picture in convert(video.path, model, fills, config, device):
            film.write(seconds, picture)
            frames += 1
            progress.update(frames)
    progress.close()
    print(f"{out}: {cli.plural(frames, 'frame')}, {cli.duration(float(seconds))}, filled by {' | '.join(fills)}")


def end(*_: object) -> None:
    """Leave as on Ctrl-C, so that what was half written is removed."""
    print("terminated", file=sys.stderr)
    sys.exit(143)


def choose_fills(config: Config, device: "torch.device") -> "dict[str, Fill]":
    """The fills by name: the selected one, or with --compare all that are compared."""
    from model.checkpoint import load_network
    from tools.evaluation.baselines import BASELINES, OPENCV
    from tools.evaluation.motion import HAS_CV2

    simple = config.baseline or ("navier-stokes" if HAS_CV2 else "replicate")
    if simple not in BASELINES:
        raise UserError(f"--baseline {simple}: expected one of {', '.join(BASELINES)}")
    if simple in OPENCV and not HAS_CV2:
        raise UserError(f"--baseline {simple} needs OpenCV: make setup EXTRAS=baselines")
    fills = {simple: BASELINES[simple]}
    if config.checkpoint:
        fill = checked(load_network(config.checkpoint, device, config.weights).infer, config.checkpoint)
        fill(*trial(device))  # before anything is written
        network = {Path(config.checkpoint).stem: fill}
        fills = fills | network if config.compare else network
    return {"empty holes": BASELINES["empty"]} | fills if config.compare else fills


def checked(fill: "Fill", checkpoint: str) -> "Fill":
    """The fill, which raises UserError where its output is not finite: such a film would be black or noise."""

    def filled(frames, holes):
        output = fill(frames, holes)
        if not output.isfinite().all():
            raise UserError(f"{checkpoint}: the output of this network is not finite: use an earlier checkpoint")
        return output

    return filled


def trial(device: "torch.device") -> "tuple[torch.Tensor, torch.Tensor]":  # -> float (12 3 64 64), bool (12 1 64 64)
    """Frames of random colours with a hole in each."""
    import torch

    frames = torch.rand(12, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    holes = torch.zeros(12, 1, 64, 64, dtype=torch.bool)
    holes[..., 16:48, 24:32] = True
    return frames.masked_fill(holes, 0).to(device), holes.to(device)


def convert(
    path: Path, model: "DepthEstimator | FilmDepth", fills: "dict[str, Fill]", config: Config, device: "torch.device"
) -> "Iterator[tuple[Fraction, np.ndarray]]":
    """The film's (seconds, picture uint8 (H W 3)) to be written, shot by shot: no queue goes through a cut."""
    import torch

    from pack.film_depth import FilmDepth
    from pack.holes.mappers import mapper
    from pack.video.writer import read_shots
    from tools.synthesis.views import Geometry, compose, paint, see, with_depth
    from train.evaluation.metrics import as_uint8

    files = model if isinstance(model, FilmDepth) else None
    usual = (files and files.mapper) or ("div_6" if model.metric else "none")
    how = Geometry(
        config.divergence,
        config.convergence,
        mapper(usual if config.mapper == "auto" else config.mapper),
        edge_dilation=0 if files and files.is_disparity else 2,
        inner=config.inner_dilation,
        outer=config.outer_dilation,
    )
    first = None
    for shot in read_shots(path, files.begins_shot if files else lambda _: False, config.deinterlace):
        views = (see(*one, how) for one in with_depth(shot, model, device, config.depth_range))
        for view, filled in paint(views, list(fills.values())):
            first = view.seconds if first is None else first
            if config.seconds and float(view.seconds - first) >= config.seconds:
                return
            stereo = torch.cat(filled, -1) if config.compare else compose(config.layout, view.frame, filled[0])
            yield view.seconds, as_uint8(stereo).numpy()


if __name__ == "__main__":
    cli.run(main)
