"""From a clip to its records: geometry, depth, holes, crops.

B frames of a batch, T frames of a clip, H height, W width of the resized frames; h, w of the depth map. Holes are
uint8 in halves: 0, 1 and 2 mean iw3's mask values 0, 0.5 and 1.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from model.mask_mlbw import MaskMLBW, hole_mask
from model.morphology import CLOSING
from pack.config import Config
from pack.depth.models import DepthEstimator, normalise
from pack.depth.motion import MotionDepth
from pack.film_depth import FilmDepth
from pack.geometry import BestWindow, best_window, transform, transform_depth, windows
from pack.holes.forward import dilate_edge, half_holes
from pack.holes.kinds import FORWARD, MASKS, MONOBW
from pack.holes.mappers import mapper
from pack.holes.monobw import moved_holes
from pack.holes.placement import crossed_share
from pack.kernels.filters import max_filter
from pack.sampling import ClipParams, draw_kinds, draw_params, uniform
from pack.shards.record import Record, record_key, video_key
from pack.video.reader import Clip, VideoInfo

LEAST_HOLES = 300  # pixels a frame on average: iw3 keeps no record with fewer
LEVELS = np.array([0, 128, 255], np.uint8)  # grey levels of a mask image, for 0, 1 and 2 half holes


@dataclass(frozen=True)
class Models:
    """The networks that packing uses, and where they run."""

    depth: DepthEstimator | None  # None: depth comes from files
    mask: MaskMLBW | None
    device: torch.device
    clips: int  # computed at once
    threads: int  # for each of them


@dataclass(frozen=True)
class TransformedClip:
    """A clip, rotated and resized by its random parameters."""

    number: int  # among the clips of the video, from 0
    start: int  # frame of the video at which the clip begins
    seconds: float  # from the first frame of the video to that of the clip
    params: ClipParams
    frames: np.ndarray  # uint8 (T H W 3)
    source_size: tuple[int, int]  # width and height before, without black bars
    depth: np.ndarray | None = None  # float32 (T 1 h w), raw nearness from files, rotated like the frames


def transform_clips(
    clips: Iterator[Clip], video: VideoInfo, metric: bool, config: Config, files: FilmDepth | None = None
) -> Iterator[TransformedClip]:
    """Each clip rotated and resized; `metric`: whether its depth will be in metres, `files`: where it comes from."""
    file_hash = video_key("", "", video.path.name)
    for clip in clips:
        params = draw_params(
            uniform(config.seed, file_hash, clip.number),
            clip.frames.shape[2],
            metric,
            config.divergence_level,
            config.resolution,
            config.short_sides,
            config.num_samples,
        )
        kinds = draw_kinds(config.seed, file_hash, clip.number, config.hole_shares(), bool(config.mask_model))
        params = replace(params, kinds=kinds)
        params = fixed(params, config, files)
        depth = None
        if files:
            maps = clip.bars.crop_map(files.read(clip.times), clip.whole) if clip.bars else files.read(clip.times)
            depth = transform_depth(maps, clip.frames.shape[1:3], params.rotation)
        size = (clip.frames.shape[2], clip.frames.shape[1])
        frames = transform(clip.frames, params)
        yield TransformedClip(clip.number, clip.start, clip.seconds, params, frames, size, depth)


def fixed(params: ClipParams, config: Config, files: FilmDepth | None) -> ClipParams:
    """The random parameters with those replaced that the configuration or the depth files decide."""
    if config.divergence:
        params = replace(params, divergence=config.divergence)
    if config.mapper:
        params = replace(params, mapper=config.mapper)
    if not config.rotate:
        params = replace(params, rotation=None)
    if files and files.is_disparity:
        params = replace(params, mapper="none", edge_dilation=0)
    return params


@torch.inference_mode()
def make_records(
    clip: TransformedClip, depth: torch.Tensor, video: VideoInfo, models: Models, config: Config
) -> list[Record]:  # depth (T 1 h w) in [0, 1]
    """The records of a clip, unmirrored ones first, without those with too few holes or misplaced ones."""
    shape = clip.frames.shape[1:3]
    # corners[sample][mirrored] are the candidates of one record
    corners = [[windows(config.size, shape, positions) for positions in pair] for pair in clip.params.crop_positions]
    needed = [[corner for pair in corners for corner in pair[mirrored]] for mirrored in range(2)]
    records = []
    for mirrored, holes in enumerate(clip_holes(depth, clip, models, config, needed)):
        for sample in range(config.num_samples):
            window = best_window(holes, config.size, corners[sample][mirrored])
            if window.half_holes > LEAST_HOLES * 2 * len(holes):
                info = describe(clip, video, config, bool(mirrored), window)
                if config.hole_shares():  # not for iw3's pair, whose records are as in earlier versions
                    info["depth_size"] = [depth.shape[3], depth.shape[2]]
                record = crop_record(clip, holes, info, sample, config)
                if is_well_placed(record, config.max_crossed):
                    records.append(record)
    return records


def is_well_placed(record: Record, most: float) -> bool:
    """Whether at most this share of the record's hole pixels is crossed; if that is asked, the share is noted in it."""
    if most == 1:  # nothing is asked: records are as in earlier versions
        return True
    share = crossed_share(record.frames, record.masks > 0)
    record.info["crossed_share"] = round(share, 6)
    return share <= most


@torch.inference_mode()
def clip_depth(clip: TransformedClip, models: Models, config: Config) -> torch.Tensor:  # -> (T 1 h w) in [0, 1]
    """Nearness of the clip's frames, normalised over the clip, with near regions dilated."""
    if clip.depth is not None:
        raw = torch.from_numpy(clip.depth).to(models.device)
    else:
        raw = estimate(clip.frames, models, config.batch_size)
    depth = normalise(raw, config.depth_range)
    return torch.cat([dilate_edge(part, clip.params.edge_dilation) for part in depth.split(config.batch_size)])


def estimate(frames: np.ndarray, models: Models, batch_size: int) -> torch.Tensor:  # uint8 (T H W 3) -> (T 1 h w)
    """Raw nearness. A few frames at a time are converted to float, on a CPU by several threads.

    MotionDepth needs all frames of the clip at once, but small ones: its frames are resized in the same way.
    """
    assert models.depth is not None, "depth from files is not estimated"
    shrink = models.depth.shrink if isinstance(models.depth, MotionDepth) else None
    function, step = (shrink, 1) if shrink else (models.depth, batch_size)

    def compute(start):
        part = torch.from_numpy(frames[start : start + step]).to(models.device).permute(0, 3, 1, 2)
        return function(part.to(torch.float32, memory_format=torch.contiguous_format).div_(255))

    starts = range(0, len(frames), step)
    if models.device.type == "cuda":
        parts = torch.cat(list(map(compute, starts)))
    else:
        with ThreadPoolExecutor(models.threads) as pool:
            parts = torch.cat(list(pool.map(compute, starts)))
    return models.depth(parts) if shrink else parts


def clip_holes(
    depth: torch.Tensor,
    clip: TransformedClip,
    models: Models,
    config: Config,
    corners: list[list[tuple[int, int]]] | None = None,
) -> np.ndarray:  # (T 1 h w) -> uint8 (2 T H W) in half holes
    """The holes of the clip and those of its mirror image.

    `corners` are (x, y) of the windows that are needed, of the clip and of its mirror image: holes outside of them may
    be missing. None: all are needed.
    """
    params, size = clip.params, clip.frames.shape[1:3]
    spans = [None if corners is None else spans_of(corners[mirrored], config.size, size) for mirrored in range(2)]
    holes = np.empty((2, len(depth), *size), np.uint8)
    for start in range(0, len(depth), config.batch_size):
        part = depth[start : start + config.batch_size]
        disparity = fit(mapper(params.mapper)(part), size) if FORWARD in params.kinds else part
        for mirrored, kind in enumerate(params.kinds):
            if kind == FORWARD:
                masks = warped_holes(disparity, params, models, bool(mirrored), spans[mirrored])
            else:
                masks = holes_of_kind(kind, part.flip(-1) if mirrored else part, params, models, size)
            holes[mirrored, start : start + config.batch_size] = masks[:, 0].cpu().numpy()
    return holes


def holes_of_kind(
    kind: str, depth: torch.Tensor, params: ClipParams, models: Models, size: tuple[int, int]
) -> torch.Tensor:  # (B 1 h w) -> uint8 (B 1 H W) in half holes
    """The holes of kind mlbw, or of monobw, closed as in use, which have no half holes."""
    curve, scale = mapper(params.mapper), (params.divergence, params.convergence)
    if kind == MONOBW:
        return closed(2 * moved_holes(curve(depth), size, *scale, threads=models.threads).byte())
    assert models.mask is not None
    return 2 * hole_mask(models.mask, depth, *scale, curve, size).byte()


def fit(depth: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:  # (B 1 h w), (H, W) -> (B 1 H W)
    """The depth resized to the frames that it was estimated from.

    iw3 resizes with both align_corners and antialiasing, which shifts the depth right and down by up to one of its own
    pixels, in the mirrored clip to the other side.
    """
    shrinks = depth.shape[-1] > size[1]  # antialiasing changes nothing when enlarging, but takes ten times as long
    return F.interpolate(depth, size, mode="bilinear", antialias=shrinks)


def spans_of(corners: list[tuple[int, int]], side: int, size: tuple[int, int]) -> np.ndarray:  # -> int (H 2)
    """The columns [first, end) of each row that windows of this side need, in frames of size (H, W)."""
    height, width = size
    around = 2 * CLOSING  # a closed pixel depends on those that dilation and erosion reach
    spans = np.full((height, 2), (width, 0))
    for x, y in corners:
        rows = spans[max(y - around, 0) : y + side + around]
        rows[:, 0] = np.minimum(rows[:, 0], max(x - around, 0))
        rows[:, 1] = np.maximum(rows[:, 1], min(x + side + around, width))
    return spans


def warped_holes(
    disparity: torch.Tensor,
    params: ClipParams,
    models: Models,
    mirrored: bool = False,
    spans: np.ndarray | None = None,
) -> torch.Tensor:  # (B 1 H W) -> uint8 (B 1 H W) in half holes
    """The holes of the forward warp of the frames or of their mirror images, closed."""
    scale = params.divergence, params.convergence
    return closed(half_holes(disparity, *scale, params.view, mirrored, models.threads, spans))


def closed(holes: torch.Tensor) -> torch.Tensor:  # uint8 (B 1 H W) in half holes -> same
    """The holes closed as `mask_closing` does, here in uint8, which is faster."""
    radius = (CLOSING, CLOSING)
    whole = 2 - max_filter(2 - max_filter(holes, radius), radius)
    return (whole + holes).clamp_(max=2)


def describe(
    clip: TransformedClip, video: VideoInfo, config: Config, mirrored: bool, window: BestWindow
) -> dict[str, Any]:
    """The record's JSON: everything needed to make the record again."""
    params = {name: value for name, value in asdict(clip.params).items() if name not in ("crop_positions", "kinds")}
    return params | {
        "video": video.path.name,
        "source_size": list(clip.source_size),
        "clip": clip.number,
        "start_frame": clip.start,
        "start_seconds": round(clip.seconds, 4),
        "max_fps": config.max_fps,
        "model_type": config.model_name,
        "resolution": config.resolution,
        "seed": config.seed,
        "frame_size": [clip.frames.shape[2], clip.frames.shape[1]],
        "mirrored": mirrored,
        "mask": MASKS[clip.params.kinds[mirrored]],
        "crop": [window.x, window.y],  # in the frames after mirroring
        "size": config.size,
        "hole_share": round(window.half_holes / (2 * len(clip.frames) * config.size**2), 6),
    }


def crop_record(
    clip: TransformedClip, holes: np.ndarray, info: dict[str, Any], sample: int, config: Config
) -> Record:  # holes uint8 (T H W) in half holes
    """The record of the crop that `info` describes."""
    (x, y), size, mirrored = info["crop"], config.size, info["mirrored"]
    number = 2 * clip.number + 1 + mirrored
    frames = clip.frames[:, :, ::-1] if mirrored else clip.frames
    return Record(
        record_key(config.prefix, config.model_name, info["video"], number, sample),
        np.ascontiguousarray(frames[:, y : y + size, x : x + size]),
        LEVELS[holes[:, y : y + size, x : x + size]],
        info,
    )
