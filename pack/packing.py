"""Packs videos into shards: decoding, computing, encoding and writing overlap, also from one video to the next.

Three stages are chained generators: `read_videos` decodes and transforms clips, `compute_videos` computes their records
and encodes their images, `pack_videos` writes shards. The events that they pass on are, for each video, VideoOpened and
then its clips in order. A video that cannot be packed ends with VideoFailed; all other exceptions end the program.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from pack.config import Config, parse_shots
from pack.film_depth import DepthOptions, locate, open_depth
from pack.film_depth import fingerprint as depth_fingerprint
from pack.parts import Difference, PartWriter, State, read_state, remove_leftovers, remove_parts
from pack.pipeline import Models, TransformedClip, clip_depth, make_records, transform_clips
from pack.prefetch import ordered_map, prefetch
from pack.shards.record import Record, encode, video_key
from pack.sources import fingerprint
from pack.video.fields import same_frames
from pack.video.reader import Report, VideoInfo, probe, read_clips
from tools.cli import UserError, one_line
from tools.cli.program import is_of_file

WAITING = 2  # clips that wait between stages, so that no thread waits for the one before it

EncodedRecord = tuple[str, dict[str, bytes]]  # key, members by extension


@dataclass(frozen=True)
class VideoTask:
    """A video to pack, and how much of it is packed already."""

    path: Path
    shard_name: str  # without the part's number
    source: dict[str, Any]  # its fingerprint; empty where the file cannot be read
    state: State


@dataclass(frozen=True)
class Outcome:
    """The result of packing a video."""

    video: str
    clips: int = 0
    records: int = 0
    cuts: int = 0
    rejected: int = 0  # records that have too few holes, or misplaced ones
    seconds: float = 0
    skipped: bool = False  # was packed before
    failure: str = ""


@dataclass(frozen=True)
class VideoOpened:
    """A video that can be decoded."""

    task: VideoTask
    info: VideoInfo
    source: dict[str, Any]  # its fingerprint
    report: Report  # complete after the last clip
    started: float  # time.monotonic()


@dataclass(frozen=True)
class ClipRead:
    """A clip, rotated and resized."""

    task: VideoTask
    info: VideoInfo
    clip: TransformedClip


@dataclass(frozen=True)
class ClipComputed:
    """A clip whose records are being encoded."""

    task: VideoTask
    number: int
    records: list[Future[EncodedRecord]]


@dataclass(frozen=True)
class ClipEncoded:
    """A clip that is ready to be written."""

    task: VideoTask
    number: int
    records: list[EncodedRecord]


@dataclass(frozen=True)
class VideoFailed:
    """A video that cannot be packed; events that follow of the same video are ignored."""

    task: VideoTask
    error: UserError | OSError


class OutOfMemory(UserError):
    """The GPU has too little memory. Fatal: other videos would fail too."""


def inspect_video(path: Path, config: Config, settings: dict[str, Any]) -> VideoTask:
    """The video and its state in the split. Raises UserError where its shards cannot be read."""
    shard_name = video_key(config.prefix, config.model_name, path.name)
    try:
        source = identify(path, config)
    except OSError:  # reported when it is this video's turn, so that the others are packed
        return VideoTask(path, shard_name, {}, State((), ()))
    state = State((), ()) if config.overwrite else read_state(Path(config.data_dir), shard_name, source, settings)
    if state.differences and all(is_immaterial(path, difference) for difference in state.differences):
        state = replace(state, differences=())
    return VideoTask(path, shard_name, source, state)


def is_immaterial(path: Path, difference: Difference) -> bool:
    """Whether a setting provably gives this video the same records as the one that it was packed with."""
    if difference.name != "deinterlace":
        return False
    try:
        return same_frames(path, json.loads(difference.now), json.loads(difference.then))
    except (UserError, OSError):
        return False


def identify(path: Path, config: Config) -> dict[str, Any]:
    """The fingerprint of a video and, where it comes from files, of its depth. Raises UserError and OSError."""
    return fingerprint(path) | ({"depth": depth_fingerprint(locate(config.depth, path))} if config.depth else {})


def pack_videos(
    tasks: Iterable[VideoTask],
    config: Config,
    settings: dict[str, Any],
    models: Models,
    on_clip: Callable[[str], None],
) -> Iterator[Outcome]:
    """Publish the missing shards of each video; `on_clip` is called with the video's name after each clip.

    A video that cannot be packed is an outcome, too. Raises Unwritable and OutOfMemory.
    """
    with closing(compute_videos(tasks, models, config)) as all_events:
        for task, events in groupby(all_events, key=lambda event: event.task):
            yield pack_video(task, events, config, settings, on_clip)


def pack_video(
    task: VideoTask,
    events: Iterator[VideoOpened | ClipEncoded | VideoFailed],
    config: Config,
    settings: dict[str, Any],
    on_clip: Callable[[str], None],
) -> Outcome:
    """Publish the missing shards of one video from its events. Raises Unwritable."""
    opened = next(events)
    if isinstance(opened, VideoFailed):
        return failed_outcome(opened)
    folder, report, rejected = Path(config.data_dir), opened.report, 0
    if config.overwrite:
        remove_parts(folder, task.shard_name)
    remove_leftovers(folder, task.shard_name)
    with PartWriter(folder, task.shard_name, opened.source, settings, task.state) as writer:
        for event in events:
            if isinstance(event, VideoFailed):
                return failed_outcome(event)
            writer.add(event.number, event.records)
            rejected += 2 * config.num_samples - len(event.records)
            on_clip(task.path.name)
        writer.finish(report.clips)
    seconds = time.monotonic() - opened.started
    return Outcome(task.path.name, report.clips, task.state.records + writer.records, report.cuts, rejected, seconds)


def failed_outcome(event: VideoFailed) -> Outcome:
    return Outcome(event.task.path.name, failure=one_line(event.error))


def compute_videos(
    tasks: Iterable[VideoTask], models: Models, config: Config
) -> Iterator[VideoOpened | ClipEncoded | VideoFailed]:
    """The events of `read_videos` with each clip's records computed and encoded.

    Several clips are computed at once, also the next video's first ones beside a video's last ones.
    """
    encoders = ThreadPoolExecutor(models.clips * models.threads)
    depth_lock = threading.Lock() if models.device.type == "cuda" else nullcontext()  # GPU memory for one clip

    def compute(event: VideoOpened | ClipRead | VideoFailed) -> VideoOpened | ClipComputed | VideoFailed:
        if not isinstance(event, ClipRead):
            return event
        task, clip = event.task, event.clip
        try:
            with depth_lock:
                depth = clip_depth(clip, models, config)
            records = make_records(clip, depth, event.info, models, config)
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(
                f"{task.path.name} needs more memory than the GPU has: pass --batch-size 1, or fewer --max-workers"
            ) from error
        except UserError as error:
            return VideoFailed(task, error)
        encoded = [encoders.submit(to_members, record, config.image_format) for record in records]
        return ClipComputed(task, clip.number, encoded)

    try:
        with (
            closing(read_videos(tasks, models.depth is not None and models.depth.metric, config)) as read,
            closing(prefetch(read)) as prefetched,
            closing(ordered_map(compute, prefetched, models.clips, models.clips + WAITING)) as computed,
        ):
            for event in computed:
                yield wait_for_records(event) if isinstance(event, ClipComputed) else event
    finally:
        encoders.shutdown(cancel_futures=True)


def wait_for_records(event: ClipComputed) -> ClipEncoded | VideoFailed:
    try:
        return ClipEncoded(event.task, event.number, [record.result() for record in event.records])
    except UserError as error:
        return VideoFailed(event.task, error)


def read_videos(
    tasks: Iterable[VideoTask], metric: bool, config: Config
) -> Iterator[VideoOpened | ClipRead | VideoFailed]:
    """The events of all videos, one video after the other.

    A UserError, and a system error of the video's file, become VideoFailed. Any other exception is a bug.
    """
    for task in tasks:
        try:
            yield from read_video(task, metric, config)
        except (UserError, OSError) as error:
            if not is_of_file(error):
                raise
            yield VideoFailed(task, error)


def read_video(task: VideoTask, metric: bool, config: Config) -> Iterator[VideoOpened | ClipRead]:
    """VideoOpened, then each clip that is not packed yet. Raises UserError and OSError."""
    started = time.monotonic()
    info, report = probe(task.path), Report()
    files = open_depth(config.depth, info, depth_options(config), config.max_fps) if config.depth else None
    metric = files.metric if files else metric
    yield VideoOpened(task, info, task.source or identify(task.path, config), report, started)
    clips = read_clips(
        task.path,
        config.seq,
        config.max_fps,
        config.skip_first,
        config.skip_interval,
        report,
        files.begins_shot if files else lambda _: False,
        parse_shots(config.shots),
        config.deinterlace,
    )
    with closing(clips):
        missing = (clip for clip in clips if clip.number >= task.state.next_clip)
        for clip in transform_clips(missing, info, metric, config, files):
            yield ClipRead(task, info, clip)


def depth_options(config: Config) -> DepthOptions:
    return DepthOptions(config.depth_large, config.depth_metric)


def to_members(record: Record, image_format: str) -> EncodedRecord:
    return record.key, encode(record, image_format)
