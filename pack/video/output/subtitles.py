"""Converts text subtitles to the kind that a container holds: 3GPP timed text (mov_text) in MP4, SubRip in Matroska."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import av
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import SubtitleSet

from pack.video.container import catching_damage

TEXT = {"srt", "subrip", "ass", "ssa", "webvtt", "mov_text", "text"}  # decoders whose lines are text
MILLISECONDS = Fraction(1, 1000)
USUAL = 2000  # milliseconds that a line stays which has no duration
PREFIX = b"0,0,Default,,0,0,0,,"  # fields of an event in ASS before its text


@dataclass(frozen=True)
class Line:
    """Text in ASS, and when it is shown, in milliseconds."""

    start: int
    end: int
    text: bytes


class SubtitleConverter:
    """Decodes the packets of one text track and encodes them anew into a stream of `out`.

    Raises av.FFmpegError where the track's header cannot be read.
    """

    def __init__(self, out: av.container.OutputContainer, source: SubtitleStream, codec: str):
        self.decoder = source.codec_context
        self.decoder.open(strict=False)  # which makes the header
        self.stream = out.add_stream(codec)
        self.encoder = self.stream.codec_context
        self.encoder.subtitle_header = self.decoder.subtitle_header
        self.encoder.time_base = MILLISECONDS
        self.active: list[Line] = []  # lines whose end was not reached, by their start

    def convert(self, packet: av.Packet, start: Fraction) -> Iterator[av.Packet]:
        """Packets that are complete by this one; `start` is the second of the film's origin."""
        if not packet.size or packet.pts is None:
            return
        with catching_damage() as caught:
            rects = self.decoder.decode2(packet)
        if caught.error:
            return  # one damaged line
        begin = max(round((packet.pts * packet.time_base - start) / MILLISECONDS), 0)
        if self.active:
            begin = max(begin, self.active[-1].start)
        end = begin + (round((packet.duration or 0) * packet.time_base / MILLISECONDS) or USUAL)
        texts = [text for text in map(_text, rects or ()) if text]
        if texts:
            yield from self._encode(until(self.active, begin))
            self.active = [line for line in self.active if line.end > begin]
            self.active = [Line(begin, line.end, line.text) for line in self.active]
            self.active.append(Line(begin, end, rb"\N".join(texts)))

    def finish(self) -> Iterator[av.Packet]:
        """The last lines."""
        if self.active:
            yield from self._encode(until(self.active, max(line.end for line in self.active)))

    def _encode(self, lines: Iterable[Line]) -> Iterator[av.Packet]:
        for line in lines:
            event = SubtitleSet.create(PREFIX + line.text, 0, line.end - line.start)
            packet = self.encoder.encode_subtitle(event)
            packet.pts = packet.dts = line.start
            packet.duration, packet.time_base, packet.stream = line.end - line.start, MILLISECONDS, self.stream
            yield packet


def until(lines: Sequence[Line], end: int) -> Iterator[Line]:
    """The lines up to `end` as ones that do not overlap: those shown at the same time are one below the other."""
    times = sorted({line.start for line in lines} | {min(line.end, end) for line in lines} | {end})
    for begin, stop in pairwise(times):
        shown = [line.text for line in lines if line.start <= begin and line.end >= stop]
        if shown and stop <= end:
            yield Line(begin, stop, rb"\N".join(shown))


def _text(rect):
    ass = getattr(rect, "ass", b"")
    return ass.split(b",", 8)[8].strip() if ass.count(b",") >= 8 else b""
