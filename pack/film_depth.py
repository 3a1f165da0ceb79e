"""The depth of one film from files: which map belongs to which frame, its polarity, and where shots begin.

T frames of a clip, h, w size of a map. Maps are matched by time: those of iw3's exports and of grey videos by their own
time stamps, numbered ones by the time of the film's frame of this number. Time counts from the film's first frame.
"""

import hashlib
import logging
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from pack.depth.files import ARRAYS, IMAGES, METRIC, ArrayMaps, FileMaps, Maps, file_named, find_maps
from pack.video.export import EXPORT, Export, is_export, listing, read_export, read_pictures
from pack.video.grey import GreyVideo, frame_times
from pack.video.reader import VideoInfo
from pack.video.timestamps import limit_rate
from tools.cli import MissingFile, UserError, plural
from tools.cli.files import read_small

log = logging.getLogger(__name__)

PLAIN = "Files"  # the model type of depth whose files do not name one
NEAR_ENOUGH = Fraction(9, 20)  # of the step between maps, by which a frame may miss its map's time
FEW = 0.01  # part of all maps that may be without a frame: rates that are not quite the film's add or drop one
SHAPES = 1.12  # ratio of the aspect ratios of map and frame: models round sides to multiples of 14 or 32

Large = Literal["auto", "near", "far"]
YesNo = Literal["auto", "yes", "no"]


@dataclass(frozen=True)
class DepthOptions:
    """What a user says about depth files; auto: what the files say, else larger is nearer, and not metric."""

    large: Large = "auto"  # what large values mean
    metric: YesNo = "auto"  # whether values are metres, or grow linearly with them


@dataclass(frozen=True)
class FilmDepth:
    """The depth maps of a film."""

    source: Path
    model_type: str
    metric: bool
    mapper: str  # to be applied in use, "" where the files do not say
    is_disparity: bool  # a mapper and the dilation of edges are applied already
    is_ranged: bool  # values are nearness in [0, 1] over the shot
    maps: Maps
    seconds: tuple[Fraction, ...]  # of each map, ascending, from the film's first frame
    sign: int  # -1 where large values are far
    first: Fraction  # of the film's frames, on its timeline
    cuts: frozenset[int]  # maps that begin a shot

    def index(self, seconds: Fraction) -> int | None:
        """The map of the frame at this second of the film's timeline."""
        return nearest(self.seconds, seconds - self.first)

    def read(self, frames: Sequence[Fraction]) -> np.ndarray:  # -> float32 (T 1 h w)
        """Raw nearness of the frames at these seconds of the film's timeline. Raises UserError."""
        maps = []
        for seconds in frames:
            index = self.index(seconds)
            if index is None:
                raise UserError(missing(self, [seconds]))
            maps.append(self.sign * self.maps[index])
            if maps[-1].shape != maps[0].shape:
                raise UserError(
                    f"{self.maps.label(index)} is {shape(maps[-1])}, the one before it {shape(maps[0])}: "
                    f"expected depth maps of one size within a shot"
                )
        return np.stack(maps)[:, None]

    def begins_shot(self, seconds: Fraction) -> bool:
        """Whether the files say that the frame at this second begins a shot."""
        return bool(self.cuts) and self.index(seconds) in self.cuts


def nearest(times: Sequence[Fraction], at: Fraction) -> int | None:
    """The index of the time that is nearest, None where it is further than NEAR_ENOUGH of a step away."""
    after = bisect_left(times, at)
    index = min((i for i in (after - 1, after) if 0 <= i < len(times)), key=lambda i: abs(times[i] - at))
    steps = [b - a for a, b in pairwise(times[max(0, index - 1) : index + 2])]
    return index if abs(times[index] - at) <= NEAR_ENOUGH * min(steps, default=Fraction(1)) else None


def shape(values: np.ndarray) -> str:
    return f"{values.shape[-1]}x{values.shape[-2]}"


def locate(depth: str, video: Path) -> Path:
    """The depth of this video: `depth` itself, or in a folder of several the folder or file with the video's name.

    Raises MissingFile.
    """
    source = Path(depth)
    if not source.exists():
        raise MissingFile(f"--depth {source}: no such file or folder")
    if not source.is_dir() or (source / EXPORT).exists() or (source / "depth").is_dir() or has_maps(source):
        return source
    named = (path for path in source.iterdir() if video.stem in (path.stem, path.name))
    found = sorted(path for path in named if path != video or is_export(path))
    if not found:
        raise MissingFile(
            f"--depth {source}: expected {EXPORT}, numbered maps such as 000000.png, or a folder {video.stem} in it"
        )
    return found[0]


def films_of(depth: str) -> list[Path]:
    """The films whose pictures are beside their depth: the export `depth`, or those in this folder of exports.

    Raises UserError, which says what is missing.
    """
    source = Path(depth).resolve() if Path(depth).name in ("", "..") else Path(depth)
    if not source.exists():
        raise MissingFile(f"--depth {source}: no such file or folder")
    folders = sorted(path for path in source.iterdir() if is_export(path)) if source.is_dir() else []
    if not folders and (not source.is_dir() or not (is_export(source) or (source / "depth").is_dir())):
        raise MissingFile(f"--video is missing, and --depth {source} holds depth alone: pass the film as --video")
    films = folders or [source]
    for film in films:
        read_pictures(film)
    return films


def film_of(video: str, depth: str) -> Path:
    """The film of a command line: `video`, or without it the pictures of the export `depth`. Raises UserError."""
    if video:
        return Path(video)
    films = films_of(depth)
    if len(films) > 1:
        raise UserError(f"--depth {depth} holds the exports of {plural(len(films), 'film')}: pass one of them")
    return films[0]


def has_maps(folder: Path) -> bool:
    return any(path.suffix.lower() in (*IMAGES, *ARRAYS) and re.search(r"\d$", path.stem) for path in folder.iterdir())


def model_type(depth: str) -> str:
    """The model type that the files state, as part of a key; PLAIN where they state none. Raises UserError."""
    source = Path(depth)
    folders = [source, *sorted(path for path in source.iterdir() if path.is_dir())] if source.is_dir() else []
    stated = {read_export(folder).model_type for folder in folders if (folder / EXPORT).exists()} - {""}
    if len(stated) > 1:
        raise UserError(f"--depth {depth}: its exports are of {' and '.join(sorted(stated))}: pack them one by one")
    return re.sub(r"[^\w-]", "_", stated.pop()) if stated else PLAIN


def fingerprint(source: Path) -> str:
    """A digest of the names and sizes of all files, and of the YAML: how an index identifies depth from files."""
    digest = hashlib.sha256()
    for name, size in listing(source):
        digest.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
    if (source / EXPORT).is_file():
        digest.update(read_small(source / EXPORT))
    return digest.hexdigest()


def open_depth(
    depth: str,
    video: VideoInfo,
    options: DepthOptions,
    max_fps: float = 10**6,
    times: Sequence[Fraction] | None = None,
) -> FilmDepth:
    """The depth of this video from files, checked against its frames that are used at `max_fps`.

    `times` are those of its frames where they are known, so that it need not be read. Raises UserError, which names
    what is missing or does not fit.
    """
    source = locate(depth, video.path)
    times = frame_times(video.path) if times is None else times
    export = read_export(source) if source.is_dir() and not has_maps(source) else None
    maps, seconds, cuts = read_maps(source, export, times, video.path)
    metric = options.metric == "yes" or (
        options.metric == "auto" and bool(export) and bool(METRIC.fullmatch(export.model_type))
    )
    far = options.large == "far" or (options.large == "auto" and options.metric == "yes" and not export)
    found = FilmDepth(
        source=source,
        model_type=model_type(str(source)),
        metric=metric,
        mapper=export.mapper if export else "",
        is_disparity=bool(export) and export.is_disparity,
        is_ranged=bool(export) and export.is_ours,
        maps=maps,
        seconds=tuple(seconds),
        sign=-1 if far else 1,
        first=times[0],
        cuts=frozenset(cuts),
    )
    check_size(found, video)
    check_frames(found, [time for time, _ in limit_rate(((time, None) for time in times), max_fps)])
    return found


def read_maps(
    source: Path, export: Export | None, times: Sequence[Fraction], film: Path
) -> tuple[Maps, list[Fraction], list[int]]:
    """The maps of a source, their seconds from the film's first frame, and which of them begin a shot."""
    if export and not export.is_ours:
        numbered = find_maps(export.depth_dir)
        numbers = list(numbered)
        step = min((b - a for a, b in pairwise(numbers)), default=1)
        first = numbers[0]
        if film.is_dir():  # pictures and maps share their numbers, so a first map that is missing is noticed
            first = read_pictures(film).numbers[0]
        seconds = [Fraction(number - first, step) / export.fps for number in numbers]
        cuts = [index for index, number in enumerate(numbers) if number in export.boundaries]
        return FileMaps(list(numbered.values())), seconds, cuts
    if source.is_dir():
        numbered = find_maps(export.depth_dir if export else source)
        first = 0 if export else min(numbered)
        paths = list(numbered.values())
        late = [number - first for number in numbered if number - first >= len(times)]
        refuse_extra(len(paths), len(late), file_named(paths[-1], late[0] + first) if late else "", source)
        kept = {number - first: path for number, path in numbered.items() if number - first < len(times)}
        cuts = [index for index, number in enumerate(kept) if export and number in export.boundaries]
        return FileMaps(list(kept.values())), [times[number] - times[0] for number in kept], cuts
    if source.suffix.lower() in ARRAYS:
        maps = ArrayMaps(source)
        extra = max(0, len(maps) - len(times))
        refuse_extra(len(maps), extra, maps.label(len(times)), source)
        return maps, [time - times[0] for time in times[: len(maps)]], []
    video = GreyVideo(source)
    return video, [time - video.seconds[0] for time in video.seconds], []


def check_size(depth: FilmDepth, video: VideoInfo) -> None:
    """Raise UserError where the first map has another aspect ratio than the film; square maps are stretched."""
    height, width = depth.maps[0].shape
    ratio = (width / height) / (video.width / video.height)
    if height != width and not 1 / SHAPES < ratio < SHAPES:
        raise UserError(
            f"{depth.maps.label(0)} is {width}x{height}, {video.path.name} is {video.width}x{video.height}: expected "
            f"depth of the same aspect ratio, is it of another film?"
        )


def check_frames(depth: FilmDepth, times: Sequence[Fraction]) -> None:
    """Raise UserError where a frame has no map; warn of maps without a frame, or raise where they are many."""
    found = [depth.index(time) for time in times]
    lost = [time for time, index in zip(times, found, strict=True) if index is None]
    if lost:
        raise UserError(missing(depth, lost, len(times)))
    step = (times[-1] - times[0]) / max(len(times) - 1, 1)
    last = bisect_right(depth.seconds, times[-1] - times[0] + step / 2)
    extra = len(depth.seconds) - last
    refuse_extra(len(depth.seconds), extra, depth.maps.label(last) if extra else "", depth.source)


def refuse_extra(count: int, extra: int, first: str, source: Path) -> None:
    """Warn of maps behind the film's end, or raise UserError where they are many."""
    if extra:
        text = f"{source} has {plural(extra, 'map')} of {count} behind the film's last frame, the first is {first}"
        if extra > max(2, FEW * count):
            raise UserError(f"{text}: expected one for each frame, is it the depth of another film?")
        log.warning("%s", text)


def missing(depth: FilmDepth, lost: Sequence[Fraction], count: int = 0) -> str:
    """What to say of the frames at these seconds, which have no map."""
    at = lost[0] - depth.first
    after = bisect_right(depth.seconds, at)
    where = " and ".join(depth.maps.label(index) for index in (after - 1, after) if 0 <= index < len(depth.seconds))
    of = f" ({len(lost)} of {count} frames have none)" if count else ""
    return (
        f"{depth.source} has no map for the frame at {float(at):.2f} s{of}, next to {where}: expected one for each "
        f"frame, is it the depth of another film, or of fewer frames per second?"
    )
