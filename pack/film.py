"""A video becomes shards: of some clips at a time depth and holes are computed, while the next one is decoded and the
images of the last ones are encoded."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pack.ahead import ahead, in_order
from pack.config import Config
from pack.parts import PartWriter, State, read_state, remove_leftovers, remove_parts
from pack.pipeline import Models, clip_depth, make_records, shape_clips
from pack.record import Record, encode, video_key
from pack.sources import fingerprint
from pack.video import Report, VideoInfo, probe, read_clips

AHEAD = 2  # clips that wait to be computed or written, so that no thread waits for them
Members = list[tuple[str, dict[str, bytes]]]


@dataclass(frozen=True)
class Film:
    """A video, what of it is packed, and what that was or will be packed from."""

    path: Path
    name: str  # of its shards, without the part
    source: dict[str, Any]  # fingerprint
    state: State


@dataclass(frozen=True)
class Outcome:
    """What packing a video came to."""

    video: str
    clips: int = 0
    records: int = 0
    cuts: int = 0
    thin: int = 0  # records not kept because they had too few holes
    seconds: float = 0
    skipped: bool = False  # was packed before
    failure: str = ""


def look_at(path: Path, config: Config, settings: dict[str, Any]) -> Film:
    """The video and its state in the split. Raises ValueError where its shards do not read."""
    name = video_key(config.prefix, config.model_name, path.name)
    try:
        source = fingerprint(path)
    except OSError:
        return Film(path, name, {}, State((), ()))  # its reason is told when it is packed, and the others are packed
    state = State((), ()) if config.overwrite else read_state(Path(config.data_dir), name, source, settings)
    return Film(path, name, source, state)


def pack_film(
    film: Film, config: Config, settings: dict[str, Any], models: Models, tell: Callable[[str], None]
) -> Outcome:
    """Publish the shards that are missing; `tell` hears the video's name after each clip.

    Raises ValueError for what is wrong with the video, and Unwritable where the split takes nothing more.
    """
    started = time.monotonic()
    video, folder, report = probe(film.path), Path(config.data_dir), Report()
    source, first = film.source or fingerprint(film.path), film.state.next_clip
    if config.overwrite:
        remove_parts(folder, film.name)
    remove_leftovers(folder, film.name)
    thin = 0
    with (
        PartWriter(folder, film.name, source, settings, film.state) as writer,
        closing(encoded_clips(video, first, models, config, report)) as clips,
    ):
        for clip, samples in clips:
            writer.add(clip, samples)
            thin += 2 * config.num_samples - len(samples)
            tell(film.path.name)
        writer.finish(report.clips)
    return Outcome(
        film.path.name, report.clips, film.state.records + writer.records, report.cuts, thin, time.monotonic() - started
    )


def encoded_clips(
    video: VideoInfo, first: int, models: Models, config: Config, report: Report
) -> Iterator[tuple[int, Members]]:
    """Number and encoded records (key, members) of each clip from `first` on, in their order."""
    clips = read_clips(video.path, config.seq, config.max_fps, config.skip_first, config.skip_interval, report)
    fresh = (clip for clip in clips if clip.number >= first)
    encoders = ThreadPoolExecutor(models.clips * models.threads)
    one_by_one = threading.Lock() if models.device.type == "cuda" else nullcontext()  # as its memory allows

    def compute(shaped):
        with one_by_one:
            depth = clip_depth(shaped, models, config)
        records = make_records(shaped, depth, video, models, config)
        return shaped.clip, [encoders.submit(to_members, record, config.image_format) for record in records]

    try:
        with (
            closing(clips),
            closing(ahead(shape_clips(fresh, video, models.depth.metric, config))) as shaped,
            closing(in_order(compute, shaped, models.clips, models.clips + AHEAD)) as computed,
        ):
            for clip, members in computed:
                yield clip, [future.result() for future in members]
    finally:
        encoders.shutdown(cancel_futures=True)


def to_members(record: Record, image_format: str) -> tuple[str, dict[str, bytes]]:
    return record.key, encode(record, image_format)
