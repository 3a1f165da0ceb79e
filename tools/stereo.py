"""Makes a stereo film of a flat one: depth, the right eye's view, its holes filled; sound and timestamps are kept."""

import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pack.holes.kinds import parse_method
from tools import cli
from tools.cli import UserError
from tools.cli.signals import end_at_sigterm
from tools.evaluation.overlap import USUAL, parse_overlap

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from pack.depth.models import DepthEstimator
    from pack.film_depth import FilmDepth
    from pack.video.frame_data.hdr import Hdr
    from pack.video.output.encoder import Encoding
    from pack.video.output.parts import Parts
    from pack.video.reader import VideoInfo
    from tools.evaluation.baselines import Fill
    from tools.synthesis.conversion import Converter
    from tools.synthesis.layouts import Layout


@dataclass(frozen=True)
class Config:
    """Convert a whole film to stereo."""

    ALIASES: ClassVar = {"out": ("-o",), "video": ("-i",)}
    video: str = ""  # film to convert, or iw3's export folder of it (required, unless that is --depth)
    checkpoint: str = ""  # weight file or training checkpoint, ours or iw3's, or base; without it a simple fill is used
    weights: Literal["averaged", "raw"] = "averaged"  # which weights of a checkpoint that averages them
    out: str = ""  # output film, .mp4, .mov or .mkv (default: NAME and the layout as players know it, such as
    # NAME_3D_LRF_Full_SBS.mp4, in the current folder)
    divergence: float = 2.5  # strength of the stereo effect: disparity between the farthest and the nearest
    # point, in percent of the longer side
    convergence: float = 0.5  # nearness (0 far, 1 near) that appears at the depth of the screen
    layout: Literal["sbs", "half-sbs", "tab", "half-tab", "anaglyph", "right"] = "sbs"  # sbs: both eyes side by
    # side; tab: the left one on top; half-: each at half its size; anaglyph: red and cyan; right: the right eye alone
    order: Literal["lr", "rl"] = "lr"  # which eye is first, on top or red; lr: the left one; rl: the right one
    method: str = "forward"  # warp that makes the other eye: forward, mlbw or monobw, also by the names of iw3:
    # forward_inpaint, mlbw_l2_inpaint, monobw_inpaint
    mask_model: str = ""  # iw3's mask_mlbw file, which the method mlbw needs
    synthetic_view: Literal["right", "left", "both"] = "right"  # eye that is made; the film itself is the other one;
    # both: both are made, each with half of the divergence
    overlap_frames: tuple[int, ...] = USUAL  # leading and trailing frames of context in the queue of 12, or one number
    # for both; 3 0 is faster and sees nothing of the future
    compare: bool = False  # instead of stereo: empty holes, simple fill and network side by side
    baseline: str = ""  # simple fill, as in evaluation (default: navier-stokes where OpenCV is, else replicate)
    model_type: str = "Motion"  # depth model, as for packing
    depth: str = ""  # depth from files instead of a model, as for packing
    depth_large: Literal["auto", "near", "far"] = "auto"  # what large values in depth files mean; auto: as an export
    # says, else near, or far with --depth-metric yes
    depth_metric: Literal["auto", "yes", "no"] = "auto"  # whether values in depth files are metres, or linear in them;
    # auto: as an export says, else no
    depth_range: Literal["minmax", "robust", "given"] = "minmax"  # what becomes nearness 0 (far) and 1 (near), followed
    # over the frames; minmax: their extremes; robust: their percentiles 0.5 and 99.5; given: depth files hold nearness
    resolution: int | None = None  # short side of the depth model's input, pixels (default: the model's own)
    mapper: str = "auto"  # curve from nearness to disparity: none, or div_6 for metric models
    inner_dilation: int = 1  # pixels of the depth map by which holes grow to the left
    outer_dilation: int = 2  # pixels of the depth map by which holes grow to the right
    deinterlace: Literal["auto", "on", "off"] = "auto"  # frames to deinterlace; auto: those that are interlaced or
    # telecined; on: all; off: none
    seconds: float = 0.0  # convert only the first seconds of the film (0: all of it)
    hdr: Literal["tonemap", "keep"] = "tonemap"  # whether HDR films become SDR or stay HDR, which needs
    # --codec hevc10
    codec: Literal["h264", "hevc", "hevc10"] = "h264"  # H.264, or HEVC with 8 or 10 bits
    crf: int | None = None  # quality, smaller is better (default: 18 for h264, 20 for hevc)
    sound: Literal["auto", "copy", "convert", "none"] = "auto"  # auto: converted only where OUT
    # cannot hold it as it is; none: no sound
    confidence: str = ""  # calibration that `make film` wrote of this network: OUT.errors/ gets a grey PNG for each
    # frame, with the expected error of filled pixels in levels of 8 bits
    device: str = "auto"  # auto, cpu or cuda

    def __post_init__(self):
        if not self.video and not self.depth:
            raise UserError("--video is missing: pass the film to convert, or --depth with an export that has rgb/")
        if not 0 < self.divergence <= 25 or self.seconds < 0 or not 0 <= (self.crf or 0) <= 51:
            raise UserError("expected --divergence above 0 and up to 25, --seconds of 0 or more and --crf of 0 to 51")
        if self.depth_range == "given" and not self.depth:
            raise UserError("--depth-range given needs the files of --depth: pass both")
        if min(self.inner_dilation, self.outer_dilation) < 0:
            raise UserError("expected --inner-dilation and --outer-dilation of 0 or more")
        if self.order == "rl" and (self.compare or self.layout == "right"):
            raise UserError("--order rl needs a layout that shows both eyes")
        if self.layout == "right" and self.synthetic_view == "left":
            raise UserError("--layout right shows the right eye: pass --synthetic-view right or both")
        if self.confidence and (self.synthetic_view != "right" or self.compare or not self.checkpoint):
            raise UserError("--confidence needs --checkpoint and --synthetic-view right, without --compare")
        parse_method("--method", self.method, bool(self.mask_model))
        parse_overlap(self.overlap_frames)


def main() -> None:
    config = cli.parse(Config)
    end_at_sigterm()

    from model.checkpoint import which_weights
    from model.device import choose_device
    from pack.film_depth import film_of
    from pack.video.export import sound_of
    from pack.video.output.encoder import TIME_BASE, Encoding
    from pack.video.output.join import join
    from pack.video.output.parts import Parts
    from pack.video.output.tracks import plan_tracks
    from pack.video.reader import probe
    from tools.synthesis.confidence import ErrorMaps, load_confidence
    from tools.synthesis.fills import choose_fills
    from tools.synthesis.plan import plan
    from train.evaluation.fills import replicate
    from train.runtime.cpu import prepare_cpu

    config = replace(config, video=str(film_of(config.video, config.depth)))
    video = probe(Path(config.video))
    device = choose_device(config.device, 0)
    prepare_cpu(device)
    layout = choose_layout(config)
    hdr = video.hdr if config.hdr == "keep" else None
    encoding = Encoding(config.codec, config.crf, layout.stereo_mode, hdr)
    encoding.check()
    confidence = load_confidence(Path(config.confidence)) if config.confidence else None
    fills = choose_fills(config.checkpoint, config.weights, config.baseline, config.compare, device)
    out = Path(config.out or f"{video.path.stem}{layout.suffix}.mp4")
    if out.exists() and out.samefile(video.path):
        raise UserError(f"{out} is the film itself: pass another OUT (-o)")
    sound = sound_of(video.path, config.sound != "none")
    tracks = plan_tracks(sound, out, config.sound)
    model = choose_depth(config, video, device)
    converter = create_converter(config, model, fills, device, hdr)
    network = f"{config.checkpoint}{which_weights(config.checkpoint, config.weights)}" if config.checkpoint else ""
    total = min(video.frames, round(config.seconds * video.fps) or video.frames)
    with (
        Parts(out, describe(config, video.path, model, encoding, device), encoding, video.fps) as parts,
        kept(parts, total),
    ):
        for line in plan(video, layout, network, tracks, parts, total):
            print(line, flush=True)
        if not parts.complete:
            if confidence:
                maps = ErrorMaps(out.with_name(f"{out.stem}.errors"), confidence)
                converter = replace(converter, errors=maps, fills=[*converter.fills, replicate])
            convert(converter, parts, config, total)
        join(parts, sound, tracks, whole=not config.seconds)
        parts.remove()
    length = cli.duration(float(parts.ticks[-1] * TIME_BASE))
    print(f"{out}: {cli.plural(len(parts.ticks), 'frame')}, {length}, filled by {' | '.join(fills)}")


def choose_layout(config: Config) -> "Layout":
    """The layout, or with --compare what is shown instead."""
    from tools.synthesis.layouts import LAYOUTS, Layout

    if config.compare:
        return Layout("_compare", "", "the made eye with empty holes and as filled, side by side")
    return LAYOUTS[config.layout, config.order]


def describe(
    config: Config, film: Path, model: "DepthEstimator | FilmDepth", encoding: "Encoding", device: "torch.device"
) -> dict[str, Any]:
    """What a part depends on: parts of another description are not joined."""
    import av
    import torch

    from model.checkpoint import locate
    from pack import film_depth
    from pack.video.output.parts import fingerprint
    from tools.cli.files import file_sha256

    elsewhere = ("hdr", "mask_model", "video", "out", "sound", "codec", "crf", "device", "checkpoint", "depth")
    return {name: value for name, value in asdict(config).items() if name not in elsewhere} | {
        "method": parse_method("--method", config.method, True),
        "overlap_frames": list(parse_overlap(config.overlap_frames)),
        "mask_model": file_sha256(config.mask_model)[:16] if config.mask_model else "",
        "film": fingerprint(film),
        "checkpoint": file_sha256(locate(config.checkpoint))[:16] if config.checkpoint else "",
        "depth": film_depth.fingerprint(model.source)[:16] if isinstance(model, film_depth.FilmDepth) else "",
        "codec": encoding.codec,
        "crf": encoding.quality,
        "device": device.type,
        "versions": [av.__version__, torch.__version__],
        **({"hdr": "keep"} if config.hdr == "keep" else {}),  # without the default, which earlier parts know nothing of
    }


def convert(converter: "Converter", parts: "Parts", config: Config, total: int) -> None:
    """Convert what the parts lack, and show the progress."""
    import torch

    from pack.film_depth import FilmDepth
    from pack.video.shot_reader import read_shots
    from tools.synthesis.pace import FIRST, Pace, expectation, trial

    film, model = Path(config.video), converter.model
    begins_shot = model.begins_shot if isinstance(model, FilmDepth) else lambda _: False
    how = film, begins_shot, config.deinterlace, converter.is_hdr
    with Pace(total, film.name) as pace, torch.inference_mode():
        left = total - parts.finished
        if not total or left > FIRST:
            rate = trial(converter, read_shots(*how), parts.encoding, float(parts.rate), left)
            print(expectation(rate, left if total else 0), flush=True)
        converter.convert(parts, read_shots(*how), config.seconds, pace.show)


@contextmanager
def kept(parts: "Parts", total: int) -> "Iterator[None]":
    """Where the block fails, say which frames are kept for the next start."""
    try:
        yield
    except BaseException:
        if parts.finished:
            of = f" of {total}" if total else ""
            done = f"{parts.finished}{of} frames are kept in {parts.folder}"
            print(f"{done}: run the same command again to continue", file=sys.stderr)
        raise


def choose_depth(config: Config, video: "VideoInfo", device: "torch.device") -> "DepthEstimator | FilmDepth":
    """The depth model, or the depth of the film from files."""
    from pack.depth.models import load_depth
    from pack.film_depth import DepthOptions, open_depth

    if config.depth:
        return open_depth(config.depth, video, DepthOptions(config.depth_large, config.depth_metric))
    return load_depth(config.model_type, config.resolution, device)


def create_converter(
    config: Config,
    model: "DepthEstimator | FilmDepth",
    fills: "dict[str, Fill]",
    device: "torch.device",
    hdr: "Hdr | None" = None,
) -> "Converter":
    """What makes stereo pictures of frames as the options ask."""
    import torch

    from model.mask_mlbw import load_mask_network
    from pack.film_depth import FilmDepth
    from pack.holes.mappers import mapper
    from tools.synthesis.conversion import Converter
    from tools.synthesis.layouts import compose
    from tools.synthesis.tone import SeesSdr
    from tools.synthesis.views import Geometry

    files = model if isinstance(model, FilmDepth) else None
    usual = (files and files.mapper) or ("div_6" if model.metric else "none")
    geometry = Geometry(
        config.divergence,
        config.convergence,
        mapper(usual if config.mapper == "auto" else config.mapper),
        edge_dilation=0 if files and files.is_disparity else 2,
        inner=config.inner_dilation,
        outer=config.outer_dilation,
        method=parse_method("--method", config.method, bool(config.mask_model)),
        network=load_mask_network(config.mask_model, device) if config.mask_model else None,
        both=config.synthetic_view == "both",
    )

    def composed(lefts, rights):
        if config.compare:
            return torch.cat(lefts if config.synthetic_view == "left" else rights, -1)
        return compose(config.layout, lefts[0], rights[0], config.order)

    how = config.depth_range, config.synthetic_view, parse_overlap(config.overlap_frames)
    seen = SeesSdr(model, hdr) if hdr and not isinstance(model, FilmDepth) else model
    return Converter(seen, list(fills.values()), geometry, composed, device, *how, is_hdr=hdr is not None)


if __name__ == "__main__":
    cli.run(main)
