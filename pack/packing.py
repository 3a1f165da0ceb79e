"""Videos become shards: of some clips at a time depth and holes are computed, while the next one is decoded and the
images of the last ones are encoded. At a video's end its last clips are computed beside the next one's first."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from pack.config import Config
from pack.parts import PartWriter, State, Unwritable, read_state, remove_leftovers, remove_parts
from pack.pipeline import Models, Shaped, clip_depth, make_records, shape_clips
from pack.prefetch import ordered_map, prefetch
from pack.shards.record import Record, encode, video_key
from pack.sources import fingerprint
from pack.video.reader import Report, VideoInfo, probe, read_clips
from tools.cli import UserError

AHEAD = 2  # clips that wait to be computed or written, so that no thread waits for them


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


@dataclass(frozen=True)
class Opened:
    """A video that can be decoded."""

    video: VideoInfo
    source: dict[str, Any]  # fingerprint
    report: Report  # complete when its last clip is read
    started: float  # on the monotonic clock


# The film, how it was opened, if it was, and what comes of it: None as a film begins, then its clips, or what is wrong
Step = tuple[Film, Opened | None, Any]


class OutOfMemory(UserError):
    """The GPU has too little memory for what is computed at once: no other video would fare better."""


def look_at(path: Path, config: Config, settings: dict[str, Any]) -> Film:
    """The video and its state in the split. Raises UserError where its shards do not read."""
    name = video_key(config.prefix, config.model_name, path.name)
    try:
        source = fingerprint(path)
    except OSError:
        return Film(path, name, {}, State((), ()))  # its reason is told when it is packed, and the others are packed
    state = State((), ()) if config.overwrite else read_state(Path(config.data_dir), name, source, settings)
    return Film(path, name, source, state)


def pack_films(
    films: Iterable[Film], config: Config, settings: dict[str, Any], models: Models, tell: Callable[[str], None]
) -> Iterator[Outcome]:
    """Publish the shards that each film lacks; `tell` hears a video's name after each of its clips.

    A film that fails is an outcome. Raises Unwritable and OutOfMemory.
    """
    with closing(compute_films(films, models, config)) as steps:
        for film, of_film in groupby(steps, key=lambda step: step[0]):
            try:
                yield pack_film(film, of_film, config, settings, tell)
            except (Unwritable, OutOfMemory):
                raise
            except (UserError, OSError) as error:
                yield Outcome(film.path.name, failure=" ".join(str(error).split()))


def pack_film(
    film: Film, steps: Iterator[Step], config: Config, settings: dict[str, Any], tell: Callable[[str], None]
) -> Outcome:
    """Publish the shards that the film lacks. Raises what is wrong with the video, and Unwritable."""
    _, opened, failure = next(steps)
    if failure:
        raise failure
    folder, report, thin = Path(config.data_dir), opened.report, 0
    if config.overwrite:
        remove_parts(folder, film.name)
    remove_leftovers(folder, film.name)
    with PartWriter(folder, film.name, opened.source, settings, film.state) as writer:
        for _, _, encoded in steps:
            if isinstance(encoded, Exception):
                raise encoded
            clip, samples = encoded
            writer.add(clip, samples)
            thin += 2 * config.num_samples - len(samples)
            tell(film.path.name)
        writer.finish(report.clips)
    seconds = time.monotonic() - opened.started
    return Outcome(film.path.name, report.clips, film.state.records + writer.records, report.cuts, thin, seconds)


def compute_films(films: Iterable[Film], models: Models, config: Config) -> Iterator[Step]:
    """The steps of `read_films`, with number and encoded records (key, members) in the place of each clip.

    One film after another, but of the next one clips are computed while the last ones of a film are.
    """
    encoders = ThreadPoolExecutor(models.clips * models.threads)
    one_by_one = threading.Lock() if models.device.type == "cuda" else nullcontext()  # as its memory allows

    def compute(step):
        film, opened, shaped = step
        if not isinstance(shaped, Shaped):
            return step
        try:
            with one_by_one:
                depth = clip_depth(shaped, models, config)
            records = make_records(shaped, depth, opened.video, models, config)
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(
                f"{film.path.name} needs more memory than the GPU has: pass --batch-size 1, or fewer --max-workers"
            ) from error
        except (UserError, OSError) as error:
            return film, opened, error
        encoded = [encoders.submit(to_members, record, config.image_format) for record in records]
        return film, opened, (shaped.clip, encoded)

    try:
        with (
            closing(read_films(films, models.depth.metric, config)) as read,
            closing(prefetch(read)) as steps,
            closing(ordered_map(compute, steps, models.clips, models.clips + AHEAD)) as computed,
        ):
            for film, opened, made in computed:
                if isinstance(made, tuple):
                    made = _encoded(*made)
                yield film, opened, made
    finally:
        encoders.shutdown(cancel_futures=True)


def _encoded(clip, records):  # its number, futures
    try:
        return clip, [record.result() for record in records]
    except (UserError, OSError) as error:
        return error


def read_films(films: Iterable[Film], metric: bool, config: Config) -> Iterator[Step]:
    """Steps (film, Opened, None), then (film, Opened, Shaped) for each clip that is not packed yet, of each film.

    What is wrong with a film stands in a last step of it instead of raising.
    """
    for film in films:
        opened = None
        try:
            started = time.monotonic()
            opened = Opened(probe(film.path), film.source or fingerprint(film.path), Report(), started)
            yield film, opened, None
            clips = read_clips(
                film.path, config.seq, config.max_fps, config.skip_first, config.skip_interval, opened.report
            )
            with closing(clips):
                fresh = (clip for clip in clips if clip.number >= film.state.next_clip)
                for shaped in shape_clips(fresh, opened.video, metric, config):
                    yield film, opened, shaped
        except (UserError, OSError) as error:
            yield film, opened, error


def to_members(record: Record, image_format: str) -> tuple[str, dict[str, bytes]]:
    return record.key, encode(record, image_format)
