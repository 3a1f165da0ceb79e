"""Opens a video file and finds the stream to decode, its rate and its length."""

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

from pack.video.bitstream.recording import Recording, stride_of
from pack.video.export import EXPORT, is_export, open_pictures
from tools.cli import MissingFile, UserError, is_shortage

FILE = "file:"  # FFmpeg's protocol
CLOCK = 4  # times the base rate: an average above it is no rate of frames
# Errors of the disk or the network that holds the file; not EPERM, the -1 by which some demuxers report damage.
DISK = (errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT, errno.EACCES)
NETWORK = (
    *(errno.ENOTCONN, errno.ECONNABORTED, errno.ECONNRESET, errno.ECONNREFUSED, errno.ESHUTDOWN),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET),
)
MOST = 2**30  # bytes, more than FFmpeg asks for at a time in a whole film
BLOCK = 2**20  # bytes
LARGEST_SIDE, LARGEST_AREA = 2**14, 2**27  # pixels of a picture: 16K video has 15360x8640


class Unreadable:
    """Opaque value of the packets that end a file which cannot be read any further; PyAV keeps it by identity."""

    def __init__(self, reason: str):
        self.reason = reason


@dataclass
class Caught:
    """The error that ended a block of `catching_damage`, None where it came to its end."""

    error: Exception | None = None

    @property
    def reason(self) -> str:
        """The error in FFmpeg's words."""
        return getattr(self.error, "strerror", None) or type(self.error).__name__


@contextmanager
def catching_damage(*others: type[Exception], path: str | Path = "") -> Iterator[Caught]:
    """A block that ends at an error of FFmpeg, or one of these others, which shows damage, and gives this error.

    Other errors pass: where the machine lacks memory, open files or disk space, and, in a block that reads the file
    `path`, those of the disk or the network, which get its name.
    """
    caught = Caught()
    try:
        yield caught
    except (av.FFmpegError, *others) as error:
        if is_shortage(error) and not _asks_for_too_much(error):
            raise
        if path and isinstance(error, OSError) and not _is_of_demuxer(error, path):
            raise OSError(error.errno, error.strerror, str(path)) from error  # FFmpeg's has a name that cannot be set
        caught.error = error


def _asks_for_too_much(error: Exception) -> bool:
    """Whether memory was lacking while there is plenty: sizes in a damaged file may ask for any amount."""
    if not isinstance(error, MemoryError):
        return False
    try:
        np.empty(MOST, np.uint8)  # takes none, since it is not written to
    except MemoryError:
        return False
    return True


def _is_of_demuxer(error: OSError, path: str | Path) -> bool:
    """Whether an error while a file was read is no error of the disk or the network.

    Demuxers, as that of Matroska, report truncated files as EIO. Then the system can read the file to its end.
    """
    if error.errno != errno.EIO:
        return error.errno not in DISK + NETWORK
    try:
        with open(path, "rb", buffering=0) as file:
            while file.read(BLOCK):
                pass
    except OSError:
        return False
    return True


@contextmanager
def open_video(path: str | Path, start: int = 0) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The opened container and its video stream, closed at the end; of a recording the part from byte `start` on.

    Raises a MissingFile, or a UserError for a file that is not a video.
    """
    if not Path(path).exists():
        raise MissingFile(f"there is no file {path}: pass the path of a video")
    if Path(path).is_dir() and not is_export(Path(path)):
        raise UserError(f"{path} is a folder without {EXPORT}: expected a video file, or a finished export of iw3")
    if Path(path).stat().st_size == 0:
        raise UserError(f"{path} is empty: expected a video, copy or download it again")
    with catching_damage(path=path) as caught:
        container = open_container(path, start)
    if caught.error:
        raise UserError(
            f"{path} cannot be opened as a video ({caught.reason}): it is cut short or no video, download it again"
        ) from caught.error
    with container:
        yield container, video_stream(path, container)


def open_container(path: str | Path, start: int = 0) -> av.container.InputContainer:
    """The file, or an export's pictures, opened for reading.

    Text in it that is not UTF-8, such as a title in Latin-1, does not matter. A recording, which is read
    from byte `start` on, ends where its picture becomes another stream.
    """
    if Path(path).is_dir():
        return open_pictures(Path(path))
    if stride := stride_of(path):
        return av.open(Recording(path, stride, start), "r", metadata_errors="replace")
    # The prefix keeps FFmpeg from reading a name with a colon as a protocol.
    return av.open(f"{FILE}{path}", metadata_errors="replace")


def recording_of(container: av.container.InputContainer) -> Recording | None:
    """The recording in MPEG-TS that was opened, None for other files."""
    file = getattr(container.file, "file", None)
    return file if isinstance(file, Recording) else None


def picture_of(container: av.container.InputContainer) -> av.stream.Stream | None:
    """The stream that is the film's picture, None where there is none.

    Of a recording it is the one that its tables list: at a joint, FFmpeg may see the end of another one, too.
    """
    recording = recording_of(container)
    listed = recording.tables.picture if recording else None
    found = [stream for stream in container.streams.video if stream.id == listed and stream.codec_context]
    return found[0] if listed is not None and found else container.streams.best("video")


def of_other_programs(container: av.container.InputContainer) -> set[int]:
    """Indexes of the streams of other programs in a recording than that of its picture; each program has a clock."""
    recording, picture = recording_of(container), picture_of(container)
    others = recording.tables.of_other_programs(picture.id) if recording and picture else set()
    return {stream.index for stream in container.streams if stream.id in others}


def video_stream(path: str | Path, container: av.container.InputContainer) -> av.VideoStream:
    """The stream to decode, set to one thread. Raises UserError where there is none."""
    kind = container.format.name
    if kind == "image2" or kind == "tty" or kind.endswith("_pipe"):
        raise UserError(f"{path} is an image or a text ({kind}): expected a video")
    stream = picture_of(container)
    if not isinstance(stream, av.VideoStream) or stream.disposition & Disposition.attached_pic:  # the cover of a song
        kinds = ", ".join(sorted({other.type for other in container.streams})) or "no"
        raise UserError(f"{path} has no video stream, but {kinds} streams: expected a video")
    if stream.codec_context is None:
        raise UserError(f"{path} has video of a codec that FFmpeg cannot decode: convert it, to H.264 for example")
    # PyAV's threads were seen to hang where decoding ends early in a process with torchvision (PyAV issue 1861, open);
    # videos are packed side by side instead.
    stream.codec_context.thread_count = 1
    width, height = stream.codec_context.width, stream.codec_context.height
    if is_too_large(width, height):
        raise UserError(
            f"{path} has pictures of {width}x{height} pixels: expected sides up to {LARGEST_SIDE} and up to "
            f"{LARGEST_AREA // 10**6} megapixels; if it is not damaged, scale it down"
        )
    stream.codec_context.options = {"max_pixels": str(LARGEST_AREA)}  # damaged frames may state any size
    return stream


def is_too_large(width: int, height: int) -> bool:
    """Whether no film has pictures of so many pixels."""
    return max(width, height) > LARGEST_SIDE or width * height > LARGEST_AREA


def demux(container: av.container.InputContainer, streams: Sequence[av.stream.Stream]) -> Iterator[av.Packet]:
    """The packets of these streams, and at the end for each of them one without data, which flushes its decoder.

    Streams that appear later in the file, as in recordings of broadcasts, are left out. Where the file cannot be read
    any further the packets end, too; the last ones are then `Unreadable`.
    """
    packets = container.demux(streams)
    while True:
        with catching_damage(path=container.name.removeprefix(FILE)) as caught:
            try:
                packet = next(packets)
            except (StopIteration, IndexError):  # the second from PyAV: a new stream, which comes behind all others
                return
        if caught.error:
            yield from _flushes(streams, Unreadable(caught.reason))
            return
        yield packet


def _flushes(streams: Sequence[av.stream.Stream], reason: Unreadable) -> Iterator[av.Packet]:
    for stream in streams:
        flush = av.Packet()
        flush.stream, flush.time_base, flush.opaque = stream, stream.time_base, reason
        yield flush


def frame_rate(stream: av.VideoStream) -> Fraction | None:
    """Frames a second, on average; None where it is unknown."""
    average, base = stream.average_rate, stream.base_rate
    # The base rate is the lowest that has a frame at every time stamp. FFmpeg gives the clock of raw DV as its average.
    is_clock = average and base and average > CLOCK * base
    return base if is_clock else average or stream.guessed_rate


def duration_of(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction:
    """Seconds of the pictures where the file states these alone, else of all of it; 0 where it states neither."""
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    # Matroska has it in a tag: when the last picture ends.
    if tag := re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", "")):
        end = (int(tag[1]) * 60 + int(tag[2])) * 60 + Fraction(tag[3])
        return max(end - (stream.start_time or 0) * (stream.time_base or 0), Fraction(0))
    return Fraction(container.duration or 0, av.time_base)
