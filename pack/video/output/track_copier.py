"""Copies and converts the tracks of a film other than its picture while another film is written."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path

import av
from av.stream import Disposition
from av.subtitles.stream import SubtitleStream

from pack.video.container import open_container, picture_of, recording_of
from pack.video.joined import Part, read_parts
from pack.video.output.languages import three_letters
from pack.video.output.sound import SoundConverter
from pack.video.output.subtitles import SubtitleConverter
from pack.video.output.tracks import Track, continues, counterparts, read_heads

log = logging.getLogger(__name__)


class TrackCopier:
    """The planned tracks, titles and chapters of a film on their way into `out`.

    with TrackCopier(source, tracks, out) as copier:
        copier.add_streams()  # before the header of `out` is written
        copier.write_until(seconds)
        copier.finish(seconds)
    """

    def __init__(self, source: Path, tracks: list[Track], out: av.container.OutputContainer):
        self.path, self.tracks, self.out = source, [track for track in tracks if track.codec], out
        self.copies: dict[int, av.stream.Stream] = {}  # by index of the source's stream
        self.converters: dict[int, SoundConverter | SubtitleConverter] = {}
        self.ends: dict[int, int] = {}  # decoding stamp of the last packet
        self.over: set[int] = set()  # tracks of which this part of a recording has no more

    def __enter__(self) -> "TrackCopier":
        with ExitStack() as stack:
            parts = stack.enter_context(closing(read_parts(self.path, needs_picture=False)))
            self.part = next(parts)
            self.planned = stack.enter_context(open_container(self.path, self.part.start))
            # read as far as for the plan
            read_heads(self.planned, [self.planned.streams[track.index] for track in self.tracks])
            self.origin = self.part.packets.origin
            self.packets = self._read(parts) if self.tracks else iter(())
            self.packet = next(self.packets, None)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def _read(self, parts: Iterator[Part]) -> Iterator[tuple[av.Packet, int]]:
        """The packets of the planned tracks in all parts, each with the index of its track."""
        kept, part = {track.index for track in self.tracks}, self.part
        while True:
            self.part, self.over = part, set()
            tracks = counterparts(self.planned, part.container)
            for packet in part.packets:
                index = tracks.get(packet.stream.index)
                if index in kept:
                    yield packet, index
            self._name_late_sound(part)
            following = next(parts, None)
            if following is None:
                return
            part = following

    def add_streams(self) -> None:
        """Add a stream for each track, the titles and the chapters."""
        for track in self.tracks:
            stream = self.planned.streams[track.index]
            made: av.stream.Stream
            if track.codec == "copy":
                made = self.copies[track.index] = self.out.add_stream_from_template(stream)
            else:
                self.converters[track.index] = self._converter(stream, track.codec)
                made = self.converters[track.index].stream
            made.metadata.update(self._stated(stream.metadata))
            made.disposition = stream.disposition
        self._name_picture()
        # FFmpeg makes a track of a timecode in MP4, and fails at the end of a film whose rate has no timecodes.
        dropped = () if self.out.format.name == "matroska" else ("timecode",)
        titles = self.planned.metadata.items()
        self.out.metadata.update({key: text for key, text in titles if key.lower() not in dropped})
        self.out.set_chapters(list(self._chapters()))

    def _name_picture(self):
        """Give the picture the title and the language that it has in the source."""
        picture = picture_of(self.planned)
        if picture is not None and not picture.disposition & Disposition.attached_pic:
            named = {key: picture.metadata.get(key, "") for key in ("title", "language")}
            made = self.out.streams.video[0]
            named["name"] = picture.metadata.get("name", "")
            made.metadata.update(self._stated({k: text for k, text in named.items() if text not in ("", "und")}))
            made.disposition = picture.disposition

    def _stated(self, metadata: dict[str, str]) -> dict[str, str]:
        """What is stated of a track as the container can hold it; MP4 calls the title a name."""
        if "name" in metadata:
            metadata = {"title": metadata["name"]} | {key: text for key, text in metadata.items() if key != "name"}
        if self.out.format.name == "matroska" or "language" not in metadata:
            return metadata
        return metadata | {"language": three_letters(metadata["language"])}

    @property
    def languages(self) -> list[str]:
        """The language of each track of `out`, "" for none."""
        return [stream.metadata.get("language", "") for stream in self.out.streams]

    def _converter(self, stream: av.stream.Stream, codec: str) -> SoundConverter | SubtitleConverter:
        if isinstance(stream, SubtitleStream):
            return SubtitleConverter(self.out, stream, codec)
        assert isinstance(stream, av.AudioStream)
        return SoundConverter(self.out, stream, codec)

    def write_until(self, seconds: Fraction | None) -> None:
        """Write what comes up to these seconds, so that no track waits for another; None writes the rest."""
        while self.packet is not None:
            packet, index = self.packet
            if packet.dts is None:
                packet.dts = packet.pts
            if None not in (packet.dts, seconds) and packet.dts * packet.time_base - self.origin > seconds:
                return
            if packet.dts is None or not self._is_over(packet, index):
                self._write(packet, index)
            self.packet = next(self.packets, None)

    def _write(self, packet, index):
        """Convert or copy a packet; one without a time stamp only flushes the decoder of a track that is converted."""
        if index in self.converters:
            self.out.mux(list(self.converters[index].convert(packet, self.origin)))
        elif packet.dts is not None:
            self._copy(packet, index)

    def finish(self, seconds: Fraction | None) -> None:
        """Write what comes up to these seconds, or the rest, and what converters still hold."""
        self.write_until(seconds)
        for converter in self.converters.values():
            self.out.mux(list(converter.finish()))

    def _name_late_sound(self, part):
        if (recording := recording_of(part.container)) is not None:
            known = {stream.id for stream in part.container.streams}
            for one, (place, kind) in recording.tables.added.items():
                if one not in known and kind.is_sound:
                    log.warning("%s: the sound (%s) that begins at byte %d is left out", self.path, kind, place)

    def _is_over(self, packet, index):
        """Whether the packet belongs to a track that has become one of another codec, in this part or with it."""
        if index in self.over:
            return True
        recording, stream = recording_of(self.part.container), packet.stream
        place, kind = (recording.tables.changed if recording else {}).get(stream.id, (None, None))
        (track,) = (track for track in self.tracks if track.index == index)
        if place is None or (packet.pos or 0) + self.part.start < place:
            kind = None
        if self.part.number and not continues(track.codec, self.planned.streams[index], stream):
            kind = stream.codec_context.name
        if kind is not None:
            self.over.add(index)
            seconds = packet.dts * packet.time_base - self.origin
            log.warning("%s: %s is left out from %.2f s on, where it becomes %s", self.path, track.label, seconds, kind)
        return kind is not None

    def _chapters(self):
        """The source's chapters, from the film's origin on; a repair of stamps at a splice is not applied to them.

        FFmpeg's MP4 lacks chapters without a title, and begins at 0 with the first one, so these are added.
        """
        is_mp4 = self.out.format.name != "matroska"
        for number, chapter in enumerate(self.planned.chapters()):
            ticks = round(self.origin / chapter["time_base"])
            start, end = (max(chapter[key] - ticks, 0) for key in ("start", "end"))
            if is_mp4 and number == 0 and start > 0:
                yield chapter | {"id": -1, "start": 0, "end": start, "metadata": {"title": ""}}
            titled = {"title": f"Chapter {number + 1}"} if is_mp4 else {}
            yield chapter | {"start": start, "end": end, "metadata": titled | chapter["metadata"]}

    def _copy(self, packet, index):
        words = packet.stream.type == "subtitle"
        if words and packet.stream.codec_context.name == "mov_text" and bytes(packet)[:2] == b"\0\0":
            return  # a pause, which the container writes itself
        ahead = self.origin - (packet.pts or packet.dts) * packet.time_base
        if packet.is_discard and ahead >= 2 * (packet.duration or 0) * packet.time_base:
            return  # cut off by an edit list; the last one before the film begins is what decoders start with
        end = self.ends.get(index)
        if end is not None and (packet.dts < end or (packet.dts == end and not words)):
            return  # sound that overlaps itself at a splice; no container takes stamps that do not ascend
        self.ends[index] = packet.dts
        ticks = round(self.origin / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - ticks
        packet.dts -= ticks
        packet.stream = self.copies[index]
        self.out.mux(packet)
