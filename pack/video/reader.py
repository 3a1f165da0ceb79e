"""Reads videos: what one is, its frames as they are meant to be seen, and clips of consecutive frames of one shot.

T frames, H height, W width; sizes are always those of the display: upright and with square pixels.
"""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition
from av.video.reformatter import Colorspace, ColorTrc, Interpolation, VideoReformatter

from pack.video.shots import mark_cuts
from tools.cli import MissingFile, UserError

log = logging.getLogger(__name__)

# Without the last two, swscale's shortcut for 4:2:0 repeats chroma samples and is up to 3 levels off.
SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
TAIL = 15  # frames, about a group of pictures of MPEG-2
UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED


@dataclass(frozen=True)
class VideoInfo:
    """What a video's header and its first frame say; `duration` in seconds and `frames` may be off, 0 is unknown."""

    path: Path
    width: int
    height: int
    fps: float
    duration: float
    frames: int


@dataclass(frozen=True)
class Clip:
    """Consecutive frames of one shot."""

    frames: np.ndarray  # uint8 (T H W 3)
    number: int  # among the clips of the video, from 0
    start: int  # index of its first frame among those of `read_frames`
    seconds: float  # from the first frame of the video to that of the clip


@dataclass
class Report:
    """What `read_clips` has counted so far."""

    frames: int = 0  # after frames above the rate are dropped
    clips: int = 0
    cuts: int = 0
    broken: int = 0  # clips that were begun and given up at a cut
    longest: int = 0  # frames of the longest shot


def probe(path: str | Path) -> VideoInfo:
    """What a video is, after its first frame was decoded.

    Raises a MissingFile, or a UserError for what is not a video that can be decoded.
    """
    with open_video(path) as (container, stream):
        height, width, _ = to_rgb(path, next(decode(path, container, stream)), stream, VideoReformatter()).shape
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        whole = Fraction(container.duration or 0, av.time_base)  # sound included
        duration = float(stream.duration * stream.time_base if stream.duration else whole)
        return VideoInfo(Path(path), width, height, fps, duration, stream.frames or round(duration * fps))


def read_frames(path: str | Path, max_fps: float) -> Iterator[np.ndarray]:  # of (H W 3) uint8
    """Frames in RGB as a player shows them, some dropped where they follow each other faster than `max_fps`.

    The rotation and the shape of the pixels that the file asks for are applied. HDR is not tone mapped and interlaced
    video is not deinterlaced: a warning says so. Raises what `probe` raises, and a UserError where the video is
    damaged or changes its size.
    """
    with closing(read_timed(path, max_fps)) as timed:
        for _, frame in timed:
            yield frame


def read_clips(
    path: str | Path, seq: int, max_fps: float, skip_first: int, skip_interval: int, report: Report
) -> Iterator[Clip]:
    """Clips of `seq` consecutive frames, `skip_interval` frames apart; a cut begins the next clip at once.

    Raises what `read_frames` raises, and a UserError at the end of a video without a clip.
    """
    held, wait, shot, number = [], 0, 0, 0
    with closing(read_timed(path, max_fps)) as timed:
        report.frames += sum(1 for _ in islice(timed, skip_first))
        for seconds, frame, cut in mark_cuts(timed):
            report.frames += 1
            if cut:
                report.cuts += 1
                report.broken += bool(held)
                held, wait, shot = [], 0, 0
            shot += 1
            report.longest = max(report.longest, shot)
            if wait:
                wait -= 1
                continue
            held.append((seconds, frame))
            if len(held) == seq:
                clip = Clip(np.stack([frame for _, frame in held]), number, report.frames - seq, float(held[0][0]))
                held, wait, number = [], skip_interval, number + 1
                report.clips += 1
                yield clip
    if not number:
        raise UserError(
            f"{path} has no clip: found {report.frames} frames and {report.cuts} cuts, the longest shot has "
            f"{report.longest} frames; expected --seq {seq} after --skip-first {skip_first}, "
            f"pass less of these or a longer video"
        )


def read_timed(path: str | Path, max_fps: float) -> Iterator[tuple[Fraction, np.ndarray]]:
    """The frames of `read_frames` with their seconds since the first."""
    with open_video(path) as (container, stream):
        reformatter = VideoReformatter()
        shape = None
        timed = clock(decode(path, container, stream), 1 / (stream.guessed_rate or Fraction(25)))
        for seconds, frame in thin(timed, max_fps):
            picture = to_rgb(path, frame, stream, reformatter)
            if shape is None:
                shape = picture.shape
                warn_of_faults(path, frame)
            if picture.shape != shape:
                raise UserError(
                    f"{path} changes its size from {shape[1]}x{shape[0]} to {picture.shape[1]}x{picture.shape[0]} "
                    f"after {float(seconds):.2f} s: cut it there, or encode it at one size"
                )
            yield seconds, picture


@contextmanager
def open_video(path: str | Path):
    """The opened container and its video stream, closed at the end."""
    if not Path(path).exists():
        raise MissingFile(f"there is no file {path}: pass the path of a video")
    if Path(path).is_dir():
        raise UserError(f"{path} is a folder: expected a video file")
    if Path(path).stat().st_size == 0:
        raise UserError(f"{path} is empty: expected a video, copy or download it again")
    try:
        container = av.open(f"file:{path}")  # the prefix keeps FFmpeg from reading a name with a colon as a protocol
    except av.FFmpegError as error:
        raise UserError(
            f"{path} cannot be opened as a video ({error.strerror}): it is cut short or no video, download it again"
        ) from error
    with container:
        yield container, video_stream(path, container)


def video_stream(path, container):
    """The stream to decode, set to one thread."""
    form = container.format.name
    if form == "image2" or form == "tty" or form.endswith("_pipe"):
        raise UserError(f"{path} is an image or a text ({form}): expected a video")
    stream = container.streams.best("video")
    if stream is None or stream.disposition & Disposition.attached_pic:  # the cover of a song
        kinds = ", ".join(sorted({other.type for other in container.streams})) or "no"
        raise UserError(f"{path} has no video stream, but {kinds} streams: expected a video")
    # PyAV's threads were seen to hang where decoding ends early in a process with torchvision (PyAV issue 1861, open);
    # videos are packed side by side instead.
    stream.codec_context.thread_count = 1
    return stream


def decode(path, container, stream) -> Iterator[av.VideoFrame]:
    """Frames of the stream up to any damage; a UserError where more than TAIL frames would be lost by that.

    Damage spreads to the frames that are predicted from a damaged one and cannot be told there, so all that follows
    is lost. The end of a recording that was cut by the byte is simply left out.
    """
    count, lost, damaged = 0, 0, False
    try:
        for packet in container.demux(stream):
            damaged = damaged or packet.is_corrupt
            for frame in packet.decode():
                damaged = damaged or frame.is_corrupt
                lost += damaged
                if lost > TAIL:
                    raise UserError(
                        f"{path} is damaged at frame {count}: expected a whole video, mend it or leave it out"
                    )
                if not damaged:
                    count += 1
                    yield frame
    except av.FFmpegError as error:
        raise UserError(
            f"{path} cannot be decoded after frame {count} ({error.strerror}): expected a whole video, "
            f"mend it or leave it out"
        ) from error
    if not count:
        raise UserError(f"{path} has a video stream without a frame that can be decoded: download it again")


def clock(frames, step: Fraction) -> Iterator[tuple[Fraction, av.VideoFrame]]:
    """Frames with their seconds since the first; `step` is added where time stamps are missing or do not go on."""
    seconds, last = Fraction(0), None
    for frame in frames:
        stamp = frame.pts * frame.time_base if frame.pts is not None else (last or 0) + step
        if last is not None:
            seconds += stamp - last if stamp > last else step
        yield seconds, frame
        last = stamp


def thin(timed, max_fps: float) -> Iterator[tuple[Fraction, av.VideoFrame]]:
    """What is left when frames that come too early for `max_fps` are dropped; never is one repeated.

    60 and 50 frames a second become 30 and 25 at max_fps 30: the steps between frames stay even. A fifth of a period
    is forgiven, for jitter; being late by more than a tenth is not made up for, which keeps the steps even.
    """
    period = 1 / Fraction(max_fps)
    due = Fraction(0)
    for seconds, frame in timed:
        if seconds >= due - period / 5:
            yield seconds, frame
            due = max(due + period, seconds + period * 9 / 10)


def to_rgb(path, frame: av.VideoFrame, stream, reformatter: VideoReformatter) -> np.ndarray:  # (H W 3) uint8
    """The frame as a player shows it: RGB, square pixels, upright."""
    matrix = None
    if frame.colorspace == UNSPECIFIED and not frame.format.is_rgb:
        # swscale would take BT.601 for all; players take BT.709 for what is larger than any standard definition.
        matrix = Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601
    aspect = stream.sample_aspect_ratio or 1  # of a pixel; its shorter side grows, so that no detail is lost
    try:
        scaled = reformatter.reformat(
            frame,
            width=round(frame.width * max(aspect, 1)),
            height=round(frame.height / min(aspect, 1)),
            format="rgb24",
            src_colorspace=matrix,
            interpolation=SCALING,
            threads=1,
        )
    except OSError as error:
        raise UserError(
            f"{path} has colours of matrix {frame.colorspace}, which swscale does not know: encode it in BT.709"
        ) from error
    return upright(scaled.to_ndarray(), frame.side_data.get(SideData.DISPLAYMATRIX))


def upright(picture: np.ndarray, display_matrix) -> np.ndarray:  # (H W 3), 9 int32 or None -> (H W 3) or (W H 3)
    """The picture turned and mirrored as the display matrix asks, by the nearest quarter turn."""
    if display_matrix is None:
        return picture
    # A pixel (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(display_matrix, np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = picture.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def warn_of_faults(path, frame: av.VideoFrame) -> None:
    if frame.color_trc in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67):
        log.warning("%s is HDR and is not tone mapped: its frames will look flat", path)
    if frame.interlaced_frame:
        log.warning("%s is interlaced and is not deinterlaced: moving edges will look like combs", path)
