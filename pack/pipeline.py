"""From a clip to its records: geometry, depth, holes, crops.

T frames, H height, W width of the resized frames; h, w of the depth map. Holes are counted in halves, as iw3's masks
have the values 0, 0.5 and 1.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from model.mask_mlbw import hole_mask
from pack.config import Config
from pack.depth.models import normalise
from pack.depth.motion import MotionDepth
from pack.geometry import best_window, reshape, windows
from pack.holes.forward import dilate_edge, half_holes
from pack.holes.mappers import mapper
from pack.kernels.filters import max_filter
from pack.sampling import Draw, draw_clip, uniform
from pack.shards.record import Record, record_key, video_key
from pack.video.reader import Clip, VideoInfo

LEAST_HOLES = 300  # pixels a frame: iw3 keeps no record with less
CLOSING = 2  # pixels by which holes are grown and shrunk again, so that closed ones depend on twice as many around
LEVELS = np.array([0, 128, 255], np.uint8)  # of a mask's image, for 0, 1 and 2 half holes


@dataclass(frozen=True)
class Models:
    """The networks that packing uses, and where they run."""

    depth: Callable[[torch.Tensor], torch.Tensor]
    mask: torch.nn.Module | None
    device: torch.device
    clips: int  # computed at once
    threads: int  # for each of them


@dataclass(frozen=True)
class Shaped:
    """A clip whose parameters are drawn and whose frames have the shape that was drawn."""

    clip: int
    start: int  # frame, and seconds, at which the clip begins in the video
    seconds: float
    draw: Draw
    frames: np.ndarray  # uint8 (T H W 3)


def shape_clips(clips: Iterator[Clip], video: VideoInfo, metric: bool, config: Config) -> Iterator[Shaped]:
    """Each clip rotated and resized."""
    file_hash = video_key("", "", video.path.name)
    for clip in clips:
        draw = draw_clip(
            uniform(config.seed, file_hash, clip.number),
            video.width,
            metric,
            config.divergence_level,
            config.resolution,
            config.short_sides,
            config.num_samples,
        )
        yield Shaped(clip.number, clip.start, clip.seconds, draw, reshape(clip.frames, draw))


@torch.inference_mode()
def make_records(
    shaped: Shaped, depth: torch.Tensor, video: VideoInfo, models: Models, config: Config
) -> list[Record]:  # depth (T 1 h w) in [0, 1]
    """The records of a clip, upright ones first; fewer than asked for where there are too few holes."""
    shape = shaped.frames.shape[1:3]
    corners = [[windows(config.size, shape, places) for places in both] for both in shaped.draw.places]
    asked = [[corner for both in corners for corner in both[mirrored]] for mirrored in range(2)]
    records = []
    for mirrored, holes in enumerate(clip_holes(depth, shaped, models, config, asked)):
        for sample in range(config.num_samples):
            window = best_window(holes, config.size, corners[sample][mirrored])
            if window[2] > LEAST_HOLES * 2 * len(holes):
                info = describe(shaped, video, config, bool(mirrored), models.mask is not None, window)
                records.append(cut_out(shaped, holes, info, sample, config))
    return records


@torch.inference_mode()
def clip_depth(shaped: Shaped, models: Models, config: Config) -> torch.Tensor:  # -> (T 1 h w) in [0, 1]
    """Nearness of the clip's frames, with one scale for all of them."""
    depth = normalise(estimate(shaped.frames, models, config.batch_size))
    return torch.cat([dilate_edge(part, shaped.draw.edge_dilation) for part in depth.split(config.batch_size)])


def estimate(frames, models, batch_size):  # uint8 (T H W 3) -> (T 1 h w)
    """Raw nearness. Some frames at a time become float, on the CPU shared by threads; motion needs the whole clip."""
    by_motion = isinstance(models.depth, MotionDepth)
    look, step = (models.depth.shrink, 1) if by_motion else (models.depth, batch_size)

    def work(start):
        part = torch.from_numpy(frames[start : start + step]).to(models.device).permute(0, 3, 1, 2)
        return look(part.to(torch.float32, memory_format=torch.contiguous_format).div_(255))

    starts = range(0, len(frames), step)
    if models.device.type == "cuda":
        parts = torch.cat(list(map(work, starts)))
    else:
        with ThreadPoolExecutor(models.threads) as pool:
            parts = torch.cat(list(pool.map(work, starts)))
    return models.depth(parts) if by_motion else parts


def clip_holes(depth, shaped, models, config, corners=None):  # (T 1 h w) -> uint8 (2 T H W) in half holes
    """What the other view hides of the clip and of its mirror image.

    corners are those of the windows (upright ones, mirrored ones) that matter; elsewhere holes may be missing.
    """
    draw, size = shaped.draw, shaped.frames.shape[1:3]
    curve = mapper(draw.mapper)
    spans = [None if corners is None else spans_of(corners[mirrored], config.size, size) for mirrored in range(2)]
    holes = np.empty((2, len(depth), *size), np.uint8)
    for start in range(0, len(depth), config.batch_size):
        part = depth[start : start + config.batch_size]
        wide = fit(curve(part), size)
        if models.mask is None:
            upright = warped_holes(wide, draw, models, False, spans[0])
        else:
            upright = 2 * hole_mask(models.mask, part, draw.divergence, draw.convergence, curve, size).byte()
        for variant, masks in enumerate((upright, warped_holes(wide, draw, models, True, spans[1]))):
            holes[variant, start : start + config.batch_size] = masks[:, 0].cpu().numpy()
    return holes


def fit(depth, size):  # (B 1 h w) -> (B 1 H W)
    """The depth on the pixels of the frames that it was estimated from.

    iw3 resizes with both align_corners and antialiasing, which moves the depth by up to one of its own pixels, to the
    right and down, and in the mirrored clip to the other side.
    """
    shrinks = depth.shape[-1] > size[1]  # antialiasing would change nothing else, but take ten times as long
    return F.interpolate(depth, size, mode="bilinear", antialias=shrinks)


def spans_of(corners, side, size):  # [(x, y)], of frames (H, W) -> int (H 2)
    """The columns [first, end) of each row in which holes must be known for windows of this side."""
    height, width = size
    around = 2 * CLOSING
    spans = np.full((height, 2), (width, 0))
    for x, y in corners:
        rows = spans[max(y - around, 0) : y + side + around]
        rows[:, 0] = np.minimum(rows[:, 0], max(x - around, 0))
        rows[:, 1] = np.maximum(rows[:, 1], min(x + side + around, width))
    return spans


def warped_holes(disparity, draw, models, mirrored=False, spans=None):  # (B 1 H W) -> uint8 (B 1 H W) in half holes
    """What the forward warp of the frames, or of their mirror images, leaves without a source.

    Closed as `mask_closing` does but in uint8, which is faster.
    """
    holes = half_holes(disparity, draw.divergence, draw.convergence, draw.view, mirrored, models.threads, spans)
    square = (CLOSING, CLOSING)
    closed = 2 - max_filter(2 - max_filter(holes, square), square)
    return (closed + holes).clamp_(max=2)


def describe(shaped, video, config, mirrored, learned, window) -> dict[str, Any]:
    """All that it takes to make the record again: `crop` is a corner in the frames as they are kept."""
    x, y, half_holes = window
    draw = {name: value for name, value in asdict(shaped.draw).items() if name != "places"}
    return draw | {
        "video": video.path.name,
        "source_size": [video.width, video.height],
        "clip": shaped.clip,
        "start_frame": shaped.start,
        "start_seconds": round(shaped.seconds, 4),
        "max_fps": config.max_fps,
        "model_type": config.model_name,
        "resolution": config.resolution,
        "seed": config.seed,
        "frame_size": [shaped.frames.shape[2], shaped.frames.shape[1]],
        "mirrored": mirrored,
        "mask": "mask_mlbw" if learned and not mirrored else "forward_warp",
        "crop": [x, y],
        "size": config.size,
        "hole_share": round(half_holes / (2 * len(shaped.frames) * config.size**2), 6),
    }


def cut_out(shaped, holes, info, sample, config) -> Record:
    """The record of the crop that `info` describes."""
    (x, y), size, mirrored = info["crop"], config.size, info["mirrored"]
    number = 2 * shaped.clip + 1 + mirrored
    frames = shaped.frames[:, :, ::-1] if mirrored else shaped.frames
    return Record(
        record_key(config.prefix, config.model_name, info["video"], number, sample),
        np.ascontiguousarray(frames[:, y : y + size, x : x + size]),
        LEVELS[holes[:, y : y + size, x : x + size]],
        info,
    )
