"""Reads a film shot by shot, and writes one with the sound and the clock of its source.

H height, W width; pictures are uint8 (H W 3), seconds stand on the clock of the source.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from pack.video.reader import VideoInfo, mark_shots, read_timed
from pack.video.timestamps import origin, repaired_packets
from tools.cli import UserError

CLOCK = Fraction(1, 90000)  # the time base of what is written, fine enough for every usual rate
ALL_FRAMES = 10**6  # a second: none is dropped
FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}

Timed = tuple[Fraction, np.ndarray]


def read_shots(path: Path) -> Iterator[Iterator[Timed]]:
    """Each shot as an iterator over its (seconds, picture), which the next shot ends; memory does not grow."""

    def numbered(pictures):
        shot = 0
        for picture, begins in mark_shots(pictures):
            shot += begins
            yield shot, (picture.seconds, picture.pixels)

    with closing(read_timed(path, ALL_FRAMES)) as timed:
        for _, shot in groupby(numbered(timed), key=lambda item: item[0]):
            yield (item for _, item in shot)


class FilmWriter:
    """A film that appears whole or not at all, with the sound of its source copied as it is.

    with FilmWriter(path, source, crf) as film:
        film.write(seconds, picture)

    Until the block ends well everything is in `NAME.tmp`. Where the film is not `whole`, the sound ends with it.
    """

    def __init__(self, path: Path, source: VideoInfo, crf: int, whole: bool = True):
        if path.suffix.lower() not in FORMATS:
            raise UserError(f"{path}: expected a name that ends with one of {', '.join(FORMATS)}")
        self.path, self.source, self.crf, self.whole = path, source, crf, whole
        self.part = path.with_name(path.name + ".tmp")
        self.video = None
        self.last = -1

    def __enter__(self) -> "FilmWriter":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            self.sound = stack.enter_context(av.open(f"file:{self.source.path}"))
            form = FORMATS[self.path.suffix.lower()]
            self.out = stack.enter_context(av.open(f"file:{self.part}", "w", format=form))
            audio = self.sound.streams.audio
            self.packets = (p for p in repaired_packets(self.sound) if p.stream in audio)
            self.origin = origin(self.sound)
            self.packet = next(self.packets, None)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            with self.stack:
                if kind is None:
                    self.out.mux(self.video.encode())
                    self._copy_sound(None if self.whole else self.last * CLOCK)
            if kind is None:
                os.replace(self.part, self.path)
        finally:
            self.part.unlink(missing_ok=True)

    def write(self, seconds: Fraction, picture: np.ndarray) -> None:
        """Append a picture; all must have one size, of which odd sides are made even."""
        height, width = picture.shape[:2]
        picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self.video is None:
            self._start(picture)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
        frame = self.reformatter.reformat(
            frame, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        self.last = max(round(seconds / CLOCK), self.last + 1)
        frame.pts, frame.time_base = self.last, CLOCK
        self._copy_sound(seconds)
        self.out.mux(self.video.encode(frame))

    def _start(self, picture):
        rate = Fraction(self.source.fps or 25).limit_denominator(1001)
        self.video = self.out.add_stream("libx264", rate=rate, options={"crf": str(self.crf), "preset": "medium"})
        self.video.height, self.video.width, self.video.pix_fmt = *picture.shape[:2], "yuv420p"
        context = self.video.codec_context
        context.time_base = CLOCK
        context.color_range, context.colorspace = ColorRange.MPEG, Colorspace.ITU709
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        self.reformatter = VideoReformatter()
        self.streams = {s.index: self.out.add_stream_from_template(s) for s in self.sound.streams.audio}
        try:
            self.out.start_encoding()
        except (av.FFmpegError, ValueError) as error:
            sounds = ", ".join(s.codec_context.name for s in self.sound.streams.audio) or "no"
            raise UserError(
                f"{self.path} cannot hold the source's {sounds} sound ({error}): pass -o {self.path.stem}.mkv"
            ) from error

    def _copy_sound(self, seconds):
        """Sound up to these seconds, so that neither waits for the other; None copies what is left."""
        while self.packet is not None:
            packet = self.packet
            if packet.dts is not None:
                ticks = round(self.origin / packet.time_base)
                if seconds is not None and (packet.dts - ticks) * packet.time_base > seconds:
                    return
                packet.pts = None if packet.pts is None else packet.pts - ticks
                packet.dts -= ticks
                packet.stream = self.streams[packet.stream.index]
                self.out.mux(packet)
            self.packet = next(self.packets, None)
