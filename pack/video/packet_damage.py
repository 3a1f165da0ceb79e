"""What packets show of damage, before they are decoded: by the container, and by their own bytes.

Containers also mark packets as damaged where two intact recordings were joined, so such a mark counts only where
pictures are missing, or where the codec's decoder detects no damage itself. Decoders pass over much that the bytes of a
packet show (`pack.video.bitstream`).
"""

import logging
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
from av.format import Flags

from pack.video import timestamps
from pack.video.bitstream import nal
from pack.video.bitstream.continuity import Continuity
from pack.video.bitstream.ffv1 import SliceChecks
from pack.video.bitstream.frame_numbers import FrameNumbers
from pack.video.container import Unreadable, recording_of
from pack.video.headers import goes_on, unusual_colours

log = logging.getLogger(__name__)

# Decoders that mark pictures they had to conceal; those of HEVC and newer codecs decode damaged bytes to noise.
CHECKING = {"h264", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v3", "msmpeg4v2", "wmv1", "wmv2", "wmv3", "vc1"}
MISSING = Fraction(3, 2)  # steps between decoding stamps that show that a picture is missing
GROUPED = {"mpeg1video", "mpeg2video"}  # codecs whose groups of pictures say whether they are closed
AHEAD = 5  # steps that the stamp of a picture may be ahead of all before: more than B-frames make it
WHOLE = 0.9  # of a program stream's bytes, beyond which the last picture or sound begins
PADDING = 2**20  # bytes that may follow it in any case
LOST = 512  # bytes between two packets, more than headers take
NEAR = 3  # packets between a hint and the gap that confirms it


@dataclass(frozen=True)
class InspectedPacket:
    """A packet, and what it and those around it show of damage."""

    packet: av.Packet
    begins: list[float]  # numbers of the packets in which damage begins; half a number: between two packets
    gap: bool  # whether the decoding stamps show that a picture is missing before it
    since: int | None = None  # number of the first packet that its frame may be predicted from, where it is known
    foreign: bool = False  # whether nothing in it is of the codec
    beside: bool = False  # whether it has no picture and needs none, as a delimiter or parameters alone


@dataclass
class _Stamps:
    """What the stamps of the packets before show; the packets come in the order of decoding."""

    step: Fraction  # seconds between frames
    decoded: int | None = None  # the last decoding stamp
    shown: int | None = None  # the largest presentation stamp

    def has_gap(self, packet: av.Packet) -> bool:
        """Whether a picture is missing before the packet, by the decoding stamps."""
        if self.decoded is None or packet.dts is None:
            return False
        return (packet.dts - self.decoded) * packet.time_base > MISSING * self.step

    def is_ahead(self, packet: av.Packet) -> bool:
        """Whether the packet is shown later than the order of frames explains."""
        if self.shown is None or packet.pts is None:
            return False
        return (packet.pts - self.shown) * packet.time_base > AHEAD * self.step

    def add(self, packet: av.Packet) -> None:
        if packet.dts is not None:
            self.decoded = packet.dts
        if packet.pts is not None:
            self.shown = packet.pts if self.shown is None else max(packet.pts, self.shown)


def inspected(
    path: str | Path, packets: Iterator[av.Packet], container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[InspectedPacket]:
    """The stream's packets, in the order of decoding, and their damage.

    Raises UserError for Dolby Vision whose colours no decoder here shows.
    """
    readable = _with_warnings(path, packets, container, stream)
    recording = recording_of(container)
    if recording is not None and recording.continuity is not None and stream.id == recording.continuity.identifier:
        own = (packet for packet in readable if packet.stream.index == stream.index)
        seen = _seen_in_recording(own, recording.continuity, recording.start, stream)
    else:
        seen = _seen_in_container(_with_lost_bytes(path, readable, container, stream), stream)
    return _seen_in_bytes(path, seen, stream.codec_context)


def _seen_in_bytes(
    path: str | Path, packets: Iterable[InspectedPacket], context: av.VideoCodecContext
) -> Iterator[InspectedPacket]:
    """The packets with the damage that their NAL units or their checksums show, which decoders pass over."""
    codec = context.name
    size = nal.length_size(context) if codec in nal.LAST_SLICE else 0
    numbers = FrameNumbers(context) if codec == "h264" else None
    checks = SliceChecks() if codec == "ffv1" else None
    key: int | None = None
    for number, found in enumerate(packets):
        packet, begins, since, beside = found.packet, found.begins, None, False
        key = number if packet.is_keyframe else key
        foreign = nal.is_foreign(bytes(packet), size, codec)
        if foreign:
            begins = [*begins, number]
        if checks is not None and not checks.is_whole(bytes(packet)):
            begins = [*begins, number]
        if codec in nal.LAST_SLICE and packet.size:
            units = nal.Units.of(bytes(packet), size, codec)
            if numbers is not None and numbers.skip(units.units, packet.is_keyframe) and found.gap:
                begins = [*begins, number]
            if units.is_profile_5:
                raise unusual_colours(path, 5)
            if not units.is_whole:
                # A packet that does not even begin well shows damage that began in the one before; one that was cut
                # short is marked.
                begins = [*begins, number if units.units or packet.is_corrupt else number - 1]
            since, beside = key if units.is_radl else None, units.is_beside
        yield replace(found, begins=begins, since=since, foreign=foreign, beside=beside)


def _seen_in_container(packets: Iterable[tuple[av.Packet, bool]], stream: av.VideoStream) -> Iterator[InspectedPacket]:
    """The stream's packets with the damage that the container shows: its marks, stamps and bytes without a packet."""
    codec = stream.codec_context.name
    noticed = codec in CHECKING
    hint: int | None = None  # the last packet that the container marks as damaged, where the codec notices damage
    marks = deque([False, False], maxlen=2)  # of the two packets before
    stamps = _Stamps(1 / (stream.guessed_rate or Fraction(25)))
    for number, (packet, lost) in enumerate(packets):
        begins: list[float] = []
        if noticed and packet.is_corrupt:
            hint = number
        gap = stamps.has_gap(packet)
        if lost and (gap or stamps.is_ahead(packet) or not packet.size):
            begins.append(number - 1)  # in which the loss began
            if packet.size and not packet.is_keyframe:
                begins.append(number)
        spliced = isinstance(packet.opaque, timestamps.Splice)
        parted = spliced or (gap and (hint is not None or marks[0]))
        if parted and packet.is_keyframe and not (codec in GROUPED and nal.is_closed(bytes(packet))):
            begins.append(number - 0.5)
        near = hint is not None and number - hint <= NEAR and packet.size and not packet.is_keyframe
        if hint is not None and near and (gap or number == hint + 2):  # a joined one would go on with a key frame
            begins.append(min(hint + 1, number))
        # A parser hands out a packet when the next one has begun, with the mark of that one.
        if not noticed and marks[0] and not (packet.is_keyframe and (spliced or not gap)):
            begins.append(number - 1)  # recordings that were joined would go on with a key frame
        marks.append(packet.is_corrupt)
        stamps.add(packet)
        yield InspectedPacket(packet, begins, gap)


def _seen_in_recording(
    packets: Iterable[av.Packet], continuity: Continuity, start: int, stream: av.VideoStream
) -> Iterator[InspectedPacket]:
    """The packets of a recording's picture with the damage that its continuity counters show, and its stamps.

    The parser cuts one unit of the recording into several packets where the beginning of another is lost; only the
    first of these has a place.
    """
    codec = stream.codec_context.name
    stamps = _Stamps(1 / (stream.guessed_rate or Fraction(25)))
    first, place = 0, -1  # the first packet of the last unit, and its place
    for number, packet in enumerate(packets):
        begins: list[float] = []
        gap = stamps.has_gap(packet)
        begins_unit = packet.pos is not None and packet.pos >= 0 and packet.pos + start > place
        missing = False  # whether whole pictures may be missing
        if begins_unit or not packet.size:
            place = (packet.pos or 0) + start if packet.size else sys.maxsize
            while continuity.losses and continuity.losses[0].place <= place:
                loss = continuity.losses.popleft()
                missing = True
                if loss.inside:
                    begins.extend(range(first, number))
            first = number
        parted = missing or isinstance(packet.opaque, timestamps.Splice)
        if parted and packet.size and not packet.is_keyframe:
            begins.append(number)
        elif parted and packet.is_keyframe and not (codec in GROUPED and nal.is_closed(bytes(packet))):
            begins.append(number - 0.5)
        stamps.add(packet)
        yield InspectedPacket(packet, begins, gap or missing)


def _with_lost_bytes(
    path: str | Path, packets: Iterable[av.Packet], container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[tuple[av.Packet, bool]]:
    """The stream's packets, and whether bytes before them belong to no packet, which Matroska alone shows."""
    known = all(other.codec_context or other.type == "attachment" for other in container.streams)
    parsed = known and "matroska" in container.format.name
    place, end, lost = 0, 0, False
    for packet in packets:
        if parsed and packet.pos and packet.size:
            laced = packet.pos == place  # several packets in one block
            lost |= not laced and 0 < end < packet.pos - LOST and not goes_on(path, end)
            place, end = packet.pos, (end if laced else packet.pos) + packet.size
        elif parsed and not packet.size:  # no packet follows
            lost |= end > 0 and not goes_on(path, end)
        if packet.stream.index == stream.index:
            yield packet, lost
            lost = False


def _with_warnings(
    path: str | Path, packets: Iterator[av.Packet], container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.Packet]:
    """All packets; a warning follows where they are not the whole file, or the file is shorter than its index."""
    count, first, last, unreadable, end = 0, None, None, None, 0
    for packet in packets:
        end = max(end, (packet.pos or 0) + packet.size)
        if packet.stream.index == stream.index and packet.size > 0:
            count += 1
            last = packet.dts if packet.dts is not None else last
            first = last if first is None else first
        if isinstance(packet.opaque, Unreadable):
            unreadable = packet.opaque
        yield packet
    if stream.frames > count + 1 and not _reaches_end(stream, first, last):
        log.warning("%s is cut short: its index lists %d frames, %d of them are there", path, stream.frames, count)
    elif unreadable is not None:
        log.warning("%s cannot be read any further behind frame %d: %s", path, count, unreadable.reason)
    elif (
        recording_of(container) is None
        and container.format.flags & Flags.ts_discont.value
        and end < WHOLE * (size := Path(path).stat().st_size - PADDING)
    ):
        log.warning(
            "%s: the last %.0f %% belong to tracks that it does not begin with, and are left out: convert each of the "
            "recordings that were joined by itself",
            path,
            100 - 100 * end / size,
        )


def _reaches_end(stream: av.VideoStream, first: int | None, last: int | None) -> bool:
    """Whether the packets between these decoding stamps are the whole stream: an AVI also lists frames of no bytes."""
    if first is None or last is None or not stream.duration or not stream.time_base:
        return False
    step = 1 / (stream.guessed_rate or Fraction(25)) / stream.time_base
    return last - first + 2 * step >= stream.duration
