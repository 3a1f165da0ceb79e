"""Reads a film shot by shot, and writes one with the sound, subtitles, chapters and timestamps of its source.

H height, W width; pictures are uint8 (H W 3), seconds are those of the film's timeline.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from pack.video.colour import ToYuv, fit_into
from pack.video.container import open_container
from pack.video.fields import Deinterlace
from pack.video.reader import VideoInfo, mark_shots, read_timed
from pack.video.sound import SoundConverter
from pack.video.timestamps import origin, repaired_packets
from pack.video.tracks import FORMATS, Track, plan_tracks

TIME_BASE = Fraction(1, 90000)  # of the output, fine enough for every usual frame rate
ALL_FRAMES = 10**6  # a second: none is dropped

Timed = tuple[Fraction, np.ndarray]


def read_shots(
    path: Path, begins_shot: Callable[[Fraction], bool] = lambda _: False, deinterlace: Deinterlace = "auto"
) -> Iterator[Iterator[Timed]]:
    """Each shot as an iterator over its (seconds, picture), which the next shot ends; memory does not grow.

    Shots also begin where `begins_shot` says so of a frame's seconds. Pictures of another size than the first are
    scaled to fit into it, with black bars.
    """

    def numbered(pictures):
        shot, size = 0, None
        for picture, begins in mark_shots(pictures, begins_shot):
            shot += begins
            size = size or picture.pixels.shape[:2]
            yield shot, (picture.seconds, fit_into(picture.pixels, size))

    with closing(read_timed(path, ALL_FRAMES, deinterlace)) as timed:
        for _, shot in groupby(numbered(timed), key=lambda item: item[0]):
            yield (item for _, item in shot)


class FilmWriter:
    """A film that appears whole or not at all, with the other tracks, titles and chapters of its source.

    with FilmWriter(path, source, crf, tracks=plan_tracks(source.path, path)) as film:
        film.write(seconds, picture)

    Until the block ends well everything is in `NAME.tmp`. Where the film is not `whole`, the sound ends with it.
    """

    def __init__(self, path: Path, source: VideoInfo, crf: int, whole: bool = True, tracks: list[Track] | None = None):
        self.tracks = plan_tracks(source.path, path) if tracks is None else tracks
        self.path, self.source, self.crf, self.whole = path, source, crf, whole
        self.part = path.with_name(path.name + ".tmp")
        self.video: av.VideoStream | None = None
        self.last = -1

    def __enter__(self) -> "FilmWriter":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            self.sound = stack.enter_context(open_container(self.source.path))
            self.origin = origin(self.sound)
            kept = {track.index for track in self.tracks if track.codec}
            self.packets = (p for p in repaired_packets(self.sound) if p.stream.index in kept) if kept else iter(())
            self.packet = next(self.packets, None)
            self.out = stack.enter_context(av.open(f"file:{self.part}", "w", format=FORMATS[self.path.suffix.lower()]))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            with self.stack:
                if kind is None:
                    self.out.mux(self.video.encode())
                    self._write_sound(None if self.whole else self.last * TIME_BASE)
                    for converter in self.converters.values():
                        self.out.mux(list(converter.finish()))
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
        frame = self.to_yuv(picture)
        self.last = max(round(seconds / TIME_BASE), self.last + 1)
        frame.pts, frame.time_base = self.last, TIME_BASE
        self._write_sound(seconds)
        self.out.mux(self.video.encode(frame))

    def _start(self, picture):
        self.to_yuv = ToYuv(*picture.shape[:2])
        rate = Fraction(self.source.fps or 25).limit_denominator(1001)
        self.video = self.out.add_stream("libx264", rate=rate, options={"crf": str(self.crf), "preset": "medium"})
        self.video.height, self.video.width, self.video.pix_fmt = *picture.shape[:2], "yuv420p"
        context = self.video.codec_context
        context.time_base = TIME_BASE
        context.color_range, context.colorspace = ColorRange.MPEG, Colorspace.ITU709
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        self.copies, self.converters, self.ends = {}, {}, {}
        for track in (track for track in self.tracks if track.codec):
            stream = self.sound.streams[track.index]
            if track.codec == "copy":
                made = self.copies[track.index] = self.out.add_stream_from_template(stream)
            else:
                self.converters[track.index] = SoundConverter(self.out, stream, track.codec)
                made = self.converters[track.index].stream
            made.metadata.update(stream.metadata)
            made.disposition = stream.disposition
        self.out.metadata.update(self.sound.metadata)
        self.out.set_chapters(list(self._chapters()))
        self.out.start_encoding()

    def _chapters(self):
        """The source's chapters, from the film's origin on; a repair of stamps at a splice is not applied to them."""
        for chapter in self.sound.chapters():
            ticks = round(self.origin / chapter["time_base"])
            yield chapter | {"start": max(chapter["start"] - ticks, 0), "end": max(chapter["end"] - ticks, 0)}

    def _write_sound(self, seconds):
        """Sound and subtitles up to these seconds, so that no track waits for another; None writes the rest."""
        while self.packet is not None:
            packet, index = self.packet, self.packet.stream.index
            if packet.dts is None:
                packet.dts = packet.pts
            if packet.dts is not None:
                if seconds is not None and packet.dts * packet.time_base - self.origin > seconds:
                    return
                if index in self.converters:
                    self.out.mux(list(self.converters[index].convert(packet, self.origin)))
                else:
                    self._copy(packet, index)
            elif index in self.converters:  # the decoder's flush
                self.out.mux(list(self.converters[index].convert(packet, self.origin)))
            self.packet = next(self.packets, None)

    def _copy(self, packet, index):
        if packet.dts <= self.ends.get(index, packet.dts - 1):
            return  # sound that overlaps itself at a splice; no container takes stamps that do not ascend
        self.ends[index] = packet.dts
        ticks = round(self.origin / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - ticks
        packet.dts -= ticks
        packet.stream = self.copies[index]
        self.out.mux(packet)
