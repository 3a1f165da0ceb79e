"""Reads grey videos of 8 to 16 bits, such as depth in FFV1 or HEVC."""

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange

from pack.video.container import open_video
from pack.video.decode import decode
from pack.video.export import read_pictures
from pack.video.joined import Part, read_parts
from pack.video.timestamps import Packets
from tools.cli import UserError

KEPT = 48  # latest frames, more than are read again


class GreyVideo:
    """The frames of a grey video, float32 (h w) in [0, 1], read forwards; those just read may be read again."""

    def __init__(self, path: Path):
        self.path = path
        self.seconds = frame_times(path)
        self._frames: Iterator[np.ndarray] | None = None
        self._next = 0
        self._kept: deque[tuple[int, np.ndarray]] = deque(maxlen=KEPT)

    def __len__(self) -> int:
        return len(self.seconds)

    def label(self, index: int) -> str:
        """The frame's place in the file, for messages."""
        return f"{self.path} at {float(self.seconds[index]):.2f} s"

    def __getitem__(self, index: int) -> np.ndarray:  # -> float32 (h w)
        for number, values in self._kept:
            if number == index:
                return values
        if self._frames is None or index < self._next:
            self._frames, self._next = read_luma(self.path), 0
            self._kept.clear()
        for values in self._frames:
            self._kept.append((self._next, values))
            self._next += 1
            if self._next > index:
                return values
        raise UserError(f"{self.label(index)} cannot be decoded: export the depth again")


def read_luma(path: Path) -> Iterator[np.ndarray]:  # of float32 (h w) in [0, 1]
    """The luma of each frame. Raises UserError for a video in RGB."""
    with open_video(path) as (container, stream), closing(decode(path, container, stream)) as decoded:
        for _, one in decoded:
            yield luma(path, one.frame)


def luma(path: Path, frame: av.VideoFrame) -> np.ndarray:  # -> float32 (h w) in [0, 1]
    """The luma of a frame, with its range (limited or full) taken into account."""
    form = frame.format
    if form.is_rgb or form.has_palette:
        raise UserError(f"{path} is a video in {form.name}, expected grey, such as gray16le or gray10le")
    bits = form.components[0].bits
    plane = frame.planes[0]
    kind = np.dtype(np.uint8 if bits == 8 else np.uint16)
    if form.is_big_endian and bits > 8:
        kind = kind.newbyteorder(">")
    rows = np.frombuffer(bytes(plane), kind).reshape(plane.height, plane.line_size // kind.itemsize)
    values = rows[:, : plane.width].astype(np.float32)
    limited = frame.color_range == ColorRange.MPEG or (
        frame.color_range == ColorRange.UNSPECIFIED and not form.name.startswith(("gray", "yuvj"))
    )
    low, span = (16 * 2 ** (bits - 8), 219 * 2 ** (bits - 8)) if limited else (0, 2**bits - 1)
    return (values - low) / span


def frame_times(path: Path) -> list[Fraction]:
    """The seconds of each frame on the video's timeline, ascending, from its packets where these state them."""
    if path.is_dir():
        return read_pictures(path).seconds
    found: list[Fraction] = []
    with closing(read_parts(path)) as parts:
        for part in parts:
            found += _times_of(path, part)
    return found


def _times_of(path: Path, part: Part) -> list[Fraction]:
    packets = [p for p in part.packets if p.stream.index == part.stream.index and p.size]
    if packets and all(p.pts is not None for p in packets):
        shown = sorted({p.pts * p.time_base for p in packets})
        if len(shown) == len(packets):
            return [seconds - part.packets.origin for seconds in shown]
    with open_video(path, part.start) as (container, stream):
        again = Packets(container, part.before)
        with closing(decode(path, container, stream, again)) as decoded:
            return [seconds for seconds, _ in decoded]
