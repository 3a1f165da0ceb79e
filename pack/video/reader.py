"""Reads videos: what one is, its frames as they are meant to be seen, and clips of consecutive frames of one shot.

T frames, H height, W width; sizes are always those of the display: upright and with square pixels.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from pack.video.bars import NO_BARS, Bars, find_bars
from pack.video.colour import ToRgb
from pack.video.container import duration_of, frame_rate
from pack.video.decode import Decoded, decode
from pack.video.fields import Deinterlace, find_telecine, progressive
from pack.video.frame_data.hdr import Hdr
from pack.video.frame_data.side_data import stereo_notice
from pack.video.headers import read_header
from pack.video.joined import Part, read_parts
from pack.video.shots import mark_cuts
from pack.video.timestamps import limit_rate
from tools.cli import UserError, plural

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoInfo:
    """A video by its header and first frame; `duration` in seconds and `frames` may be inexact, 0 is unknown."""

    path: Path
    width: int
    height: int
    fps: float
    duration: float
    frames: int
    hdr: Hdr | None = None  # None: SDR
    joined: tuple[str, ...] = ()  # what the pictures of recordings are that were joined with this one


@dataclass(frozen=True)
class Picture:
    """A frame as a player shows it."""

    seconds: Fraction  # on the film's timeline
    pixels: np.ndarray  # uint8 (H W 3)
    stretch: int  # damaged stretches before it
    bars: Bars = NO_BARS  # black bars, found by `mark_shots`
    codes: np.ndarray | None = None  # uint16 (H W 3): the film's own RGB codes, where they are kept


@dataclass(frozen=True)
class Clip:
    """Consecutive frames of one shot, without black bars."""

    frames: np.ndarray  # uint8 (T H W 3)
    number: int  # among the clips of the video, from 0
    start: int  # index of its first frame among those of `read_frames`
    seconds: float  # from the first frame of the video to that of the clip
    times: tuple[Fraction, ...] = ()  # seconds of each frame on the film's timeline
    bars: Bars = NO_BARS  # that were cut off
    whole: tuple[int, int] = (0, 0)  # height and width with them


@dataclass
class Report:
    """What `read_clips` has counted so far."""

    frames: int = 0  # after frames above the rate are dropped
    clips: int = 0
    cuts: int = 0
    broken: int = 0  # clips that were begun and given up at a cut
    longest: int = 0  # frames of the longest shot


def probe(path: str | Path) -> VideoInfo:
    """What a video is, after its first frame was decoded; a stereo film is named in a warning.

    Raises a MissingFile, or a UserError for a file that cannot be decoded as a video.
    """
    info: VideoInfo | None = None
    joined: list[str] = []
    with closing(read_parts(path)) as parts:
        for part in parts:
            if info is None:
                try:
                    info = _probe_part(path, part)
                except UserError:
                    if part.change is None:
                        raise
            else:
                duration, frames = _length(part)
                info = replace(info, duration=info.duration + duration, frames=info.frames and info.frames + frames)
            joined += [str(part.change)] if part.change else []
    assert info is not None
    return replace(info, joined=tuple(joined))


def _probe_part(path: str | Path, part: Part) -> VideoInfo:
    with closing(decode(path, part.container, part.stream, part.packets)) as decoded:
        _, first = next(decoded)
    if notice := stereo_notice(first.frame):
        log.warning("%s %s", path, notice)
    crop = read_header(path, part.container, part.stream).crop
    hdr, to_rgb = Hdr.of(first.frame), ToRgb(path, crop)
    convert = to_rgb.codes if hdr else to_rgb  # without the LUT of tone mapping, which takes time
    height, width, _ = convert(first.frame, first.aspect).shape
    return VideoInfo(Path(path), width, height, float(frame_rate(part.stream) or 0), *_length(part), hdr)


def _length(part: Part) -> tuple[float, int]:
    """The seconds and frames of a part, as its header states them."""
    duration = float(duration_of(part.container, part.stream))
    return duration, part.stream.frames or round(duration * float(frame_rate(part.stream) or 0))


def read_frames(
    path: str | Path, max_fps: float, deinterlace: Deinterlace = "auto"
) -> Iterator[np.ndarray]:  # of (H W 3) uint8
    """Frames in RGB as a player shows them, some dropped where they follow each other faster than `max_fps`.

    The rotation and the shape of the pixels that the file asks for are applied, HDR is tone mapped, and interlaced or
    telecined video becomes progressive, unless `deinterlace` is "off". Damaged stretches are left out, with a warning.
    Raises what `probe` raises.
    """
    with closing(read_timed(path, max_fps, deinterlace)) as timed:
        for picture in timed:
            yield picture.pixels


def read_clips(
    path: str | Path,
    seq: int,
    max_fps: float,
    skip_first: int,
    skip_interval: int,
    report: Report,
    begins_shot: Callable[[Fraction], bool] = lambda _: False,
    uses_shot: Callable[[int], bool] = lambda _: True,
    deinterlace: Deinterlace = "auto",
) -> Iterator[Clip]:
    """Clips of `seq` consecutive frames, `skip_interval` frames apart; a cut begins the next clip at once.

    Shots begin at the cuts that are found, and where `begins_shot` says so of a frame's seconds; those whose number
    (from 0) `uses_shot` refuses have no clip.

    Raises what `read_frames` raises, and a UserError at the end of a video without a clip.
    """
    held, wait, shot, number, first = [], 0, 0, 0, None
    with closing(read_timed(path, max_fps, deinterlace)) as timed:
        for picture in islice(timed, skip_first):
            report.frames += 1
            first = picture.seconds if first is None else first
        for picture, begins in mark_shots(timed, begins_shot):
            report.frames += 1
            first = picture.seconds if first is None else first
            if begins:
                report.cuts += 1
                report.broken += bool(held)
                held, wait, shot = [], 0, 0
            shot += 1
            report.longest = max(report.longest, shot)
            if wait or not uses_shot(report.cuts):
                wait = max(wait - 1, 0)
                continue
            held.append(picture)
            if len(held) == seq:
                bars, whole = held[0].bars, held[0].pixels.shape[:2]
                frames = np.stack([bars.crop(picture.pixels) for picture in held])
                times = tuple(picture.seconds for picture in held)
                start, seconds = report.frames - seq, float(held[0].seconds - first)
                clip = Clip(frames, number, start, seconds, times, bars, whole)
                held, wait, number = [], skip_interval, number + 1
                report.clips += 1
                yield clip
    if not number:
        raise UserError(
            f"{path} has no clip: found {plural(report.frames, 'frame')} and {plural(report.cuts, 'cut')}, the longest "
            f"shot has {plural(report.longest, 'frame')}; expected --seq {seq} after --skip-first {skip_first}, "
            f"pass less of these or a longer video"
        )


def read_timed(
    path: str | Path, max_fps: float, deinterlace: Deinterlace = "auto", keep_codes: bool = False
) -> Iterator[Picture]:
    """The pictures of `read_frames` with their seconds on the film's timeline, which sound shares.

    Recordings that were joined follow each other. With `keep_codes` those that are not HDR as the first one is are left
    out, with a warning.
    """
    with closing(_frames_of_parts(path, deinterlace, keep_codes)) as frames:
        for seconds, one, to_rgb in limit_rate(frames, max_fps):
            codes = to_rgb.codes(one.frame, one.aspect) if keep_codes else None
            yield Picture(seconds, to_rgb(one.frame, one.aspect), one.stretch, codes=codes)


def _frames_of_parts(
    path: str | Path, deinterlace: Deinterlace, keep_codes: bool
) -> Iterator[tuple[Fraction, Decoded, ToRgb]]:
    """The frames of all parts, with what converts them. A joint counts as a damaged stretch does."""
    stretch, hdr = 0, None
    shown: int | None = None  # the first part with a picture
    with closing(read_parts(path, warn=True)) as parts:
        for part in parts:
            before, to_rgb, opens = stretch, ToRgb(path, read_header(path, part.container, part.stream).crop), True
            try:
                for seconds, one in _frames_of(path, part, deinterlace):
                    if opens:
                        hdr = Hdr.of(one.frame) if shown is None else hdr
                        _check(path, one, to_rgb, hdr, keep_codes)
                        shown, opens = part.number if shown is None else shown, False
                    stretch = before + one.stretch
                    yield seconds, replace(one, stretch=stretch), to_rgb
            except UserError as error:
                if shown == part.number or (shown is None and part.change is None):
                    raise
                log.warning("%s: left out is what the recording from byte %d on still has: %s", path, part.start, error)
                for _ in part.packets:  # the clock of the next part goes on from their end
                    pass
            stretch += 1


def _frames_of(path: str | Path, part: Part, deinterlace: Deinterlace) -> Iterator[tuple[Fraction, Decoded]]:
    telecine = find_telecine(path, part.start) if deinterlace == "auto" else None
    with closing(decode(path, part.container, part.stream, part.packets)) as decoded:
        yield from progressive(decoded, deinterlace, telecine)


def _check(path: str | Path, one: Decoded, to_rgb: ToRgb, hdr: Hdr | None, keep_codes: bool) -> None:
    """Raises UserError where the first frame of a part cannot be converted."""
    to_rgb.codes(one.frame, one.aspect)
    now = Hdr.of(one.frame)
    if keep_codes and (now and now.transfer) != (hdr and hdr.transfer):
        names = [kind.name if kind else "SDR" for kind in (now, hdr)]
        raise UserError(f"{path} becomes {names[0]} where it was {names[1]}: --hdr tonemap shows both")


def mark_shots(
    pictures: Iterable[Picture], begins_shot: Callable[[Fraction], bool] = lambda _: False
) -> Iterator[tuple[Picture, bool]]:
    """Each picture with its black bars, and whether it begins a new shot.

    A shot begins at a cut, after damage, with another size or other bars, and where `begins_shot` says so of its
    seconds.
    """
    last = None
    marked = (replace(picture, bars=bars) for picture, bars in find_bars(pictures))
    for picture, _, cut in mark_cuts((picture, picture.pixels) for picture in marked):
        shape = (picture.stretch, picture.pixels.shape, picture.bars)
        follows = last is None or (shape == last and not begins_shot(picture.seconds))
        yield picture, cut or not follows
        last = shape
