"""Decodes a video and leaves out damaged frames.

Damage is judged by the decoder's output. Containers also mark packets as damaged where two intact recordings were
joined, so such a mark counts only where pictures are missing, or where the codec's decoder detects no damage
itself. Decoders pass over much that the bytes of a packet show; these are looked at too (`pack.video.bitstream`).
Frames that are predicted from a damaged one are damaged too, up to the next whole key frame.
"""

import logging
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av

from pack.video import timestamps
from pack.video.bitstream import nal
from pack.video.bitstream.ffv1 import SliceChecks
from pack.video.bitstream.frame_numbers import FrameNumbers
from pack.video.headers import goes_on, unusual_colours
from tools.cli import UserError, plural

log = logging.getLogger(__name__)

# Decoders that mark pictures they had to conceal; those of HEVC and newer codecs decode damaged bytes to noise.
CHECKING = {"h264", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v3", "msmpeg4v2", "wmv1", "wmv2", "wmv3", "vc1"}
MISSING = Fraction(3, 2)  # steps between decoding stamps that show that a picture is missing
# Codecs whose first frame is a key frame; those of broadcasts may build up their picture from parts of several frames.
NEEDS_KEY = {"mpeg4", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "h263", "flv1", "vp8", "vp9"}
GROUPED = {"mpeg1video", "mpeg2video"}  # codecs whose groups of pictures say whether they are closed
AHEAD = 5  # steps that the stamp of a picture may be ahead of all before: more than B-frames make it
LOST = 512  # bytes between two packets, more than headers take
NEAR = 3  # packets between a hint and the gap that confirms it
KEPT = 64  # packets and key frames that are remembered, more than any decoder holds back
HELD = 4  # frames held back, of which a damaged one may be the reference


@dataclass(frozen=True)
class Decoded:
    """A frame as the decoder gives it."""

    frame: av.VideoFrame
    aspect: Fraction  # width to height of a pixel
    stretch: int  # damaged stretches before it


@dataclass
class _Damage:
    """Which packets, by their number in the order of decoding, were damaged.

    Half a number stands for what is missing between two packets. Frames that are decoded behind a key frame but shown
    before it (open GOP) may be predicted from that, unless they are known to need nothing before their key frame.
    """

    packets: list[float] = field(default_factory=list)  # ascending
    keys: list[int] = field(default_factory=list)  # whole key frames that were shown, ascending
    seen: bool = False  # whether there was a frame at all

    def begins(self, packet: float) -> None:
        if packet not in self.packets:
            insort(self.packets, packet)
            self.keys = [number for number in self.keys if number != packet]

    def touches(self, packet: int, is_key: bool, since: int | None = None) -> bool:
        """Whether the frame of this packet is damaged, or predicted from one that is.

        Where it is known, packet `since` is the first that the frame may be predicted from.
        """
        if is_key:
            if packet not in self.packets and packet not in self.keys:
                insort(self.keys, packet)
                self.packets = [number for number in self.packets if number > packet - KEPT]
                self.keys = self.keys[-KEPT:]
            return packet in self.packets
        if since is not None:
            return any(since <= number <= packet for number in self.packets)
        before = bisect_right(self.packets, packet)
        key = bisect_right(self.keys, packet)
        return before > 0 and (key == 0 or self.packets[before - 1] > self.keys[key - 1])


def decode(
    path: str | Path, container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[tuple[Fraction, Decoded]]:
    """Whole frames with their seconds on the film's timeline.

    A damaged stretch is logged as a warning. Raises UserError where no frame can be decoded.
    """
    step = 1 / (stream.guessed_rate or Fraction(25))
    packets = timestamps.Packets(container)
    stretch, stretches, found = [], 0, False
    for seconds, (frame, aspect, damaged) in timestamps.in_order(_all_frames(path, packets, container, stream), step):
        seconds -= packets.origin
        if damaged:
            stretch.append(seconds)
            continue
        if stretch:
            _warn(path, stretch, step)
            stretch, stretches = [], stretches + 1
        found = True
        yield seconds, Decoded(frame, aspect, stretches)
    if not found:
        raise UserError(f"{path} has a video stream without a frame that can be decoded: download it again")
    if stretch:
        _warn(path, stretch, step)


def _warn(path, stretch, step):
    log.warning(
        "%s is damaged from %.2f s to %.2f s: %s left out",
        path,
        stretch[0],
        stretch[-1] + step,
        f"{plural(len(stretch), 'frame')} {'is' if len(stretch) == 1 else 'are'}",
    )


def _all_frames(
    path: str | Path, packets: Iterator[av.Packet], container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[tuple[av.VideoFrame, Fraction, bool]]:
    """Every frame that the decoder gives, in order of presentation, its pixel aspect, and whether it is damaged."""
    damage, held, context = _Damage(), deque(), stream.codec_context
    first, stated = context.sample_aspect_ratio, stream.sample_aspect_ratio  # the container's value has precedence
    context.copy_opaque = True  # each frame then carries the numbers of its packet
    hints = _hints(_lost(path, _readable(path, packets, stream), container, stream), stream)
    for number, (packet, begins, since) in enumerate(_inspected(path, hints, context)):
        packet.opaque = (number, since)  # a new object: PyAV keeps them by identity
        for start in begins:
            damage.begins(max(start, 0))
        try:
            frames = packet.decode()
        except EOFError:  # a second flush, after a demuxer that ended twice
            continue
        except av.InvalidDataError:
            damage.begins(number)
            continue
        for frame in frames:
            own, since = frame.opaque if isinstance(frame.opaque, tuple) else (number, None)
            is_first = not damage.seen
            damage.seen = True
            if frame.is_corrupt or (is_first and context.name in NEEDS_KEY and not frame.key_frame):
                damage.begins(own)
            now = context.sample_aspect_ratio
            aspect = (stated if now == first else now) or Fraction(1)
            held.append((own, since, frame, aspect, damage.touches(own, frame.key_frame, since)))
            if len(held) > HELD:
                yield _release(damage, held)
    while held:
        yield _release(damage, held)


def _release(damage, held):
    own, since, frame, aspect, damaged = held.popleft()
    # A frame shown before a damaged one may be predicted from it, and was judged before that was known.
    return frame, aspect, damaged or damage.touches(own, frame.key_frame, since)


def _inspected(
    path: str | Path, packets: Iterable[tuple[av.Packet, list[float], bool]], context: av.VideoCodecContext
) -> Iterator[tuple[av.Packet, list[float], int | None]]:
    """Each packet with the numbers of those where damage begins, also as its NAL units or its checksums show it.

    With them comes the number of the packet before which its frame needs none, where the units say so.
    Raises UserError for Dolby Vision whose colours no decoder here shows.
    """
    codec = context.name
    size = nal.length_size(context) if codec in nal.LAST_SLICE else 0
    numbers = FrameNumbers(context) if codec == "h264" else None
    checks = SliceChecks() if codec == "ffv1" else None
    key: int | None = None
    for number, (packet, begins, gap) in enumerate(packets):
        key, since = number if packet.is_keyframe else key, None
        if checks is not None and not checks.is_whole(bytes(packet)):
            begins = [*begins, number]
        if codec in nal.LAST_SLICE and packet.size:
            units = nal.Units.of(bytes(packet), size, codec)
            if numbers is not None and numbers.skip(units.units, packet.is_keyframe) and gap:
                begins = [*begins, number]
            if units.is_profile_5:
                raise unusual_colours(path, 5)
            if not units.is_whole:
                # A packet that does not even begin well shows damage that began in the one before; one that was cut
                # short is marked.
                begins = [*begins, number if units.units or packet.is_corrupt else number - 1]
            since = key if units.is_radl else None
        yield packet, begins, since


def _hints(
    packets: Iterable[tuple[av.Packet, bool]], stream: av.VideoStream
) -> Iterator[tuple[av.Packet, list[float], bool]]:
    """The stream's packets, the numbers of those where the container shows damage, and whether stamps have a gap."""
    step = 1 / (stream.guessed_rate or Fraction(25))
    codec = stream.codec_context.name
    noticed = codec in CHECKING
    last = shown = hint = None
    marks = deque([False, False], maxlen=2)  # of the two packets before
    for number, (packet, lost) in enumerate(packets):
        begins: list[float] = []
        if noticed and packet.is_corrupt:
            hint = number
        gap = last is not None and packet.dts is not None and (packet.dts - last) * packet.time_base > MISSING * step
        late = shown is not None and packet.pts is not None and (packet.pts - shown) * packet.time_base > AHEAD * step
        if lost and (gap or late or not packet.size):
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
        last = packet.dts if packet.dts is not None else last
        shown = max(packet.pts, packet.pts if shown is None else shown) if packet.pts is not None else shown
        yield packet, begins, gap


def _lost(
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


def _readable(path: str | Path, packets: Iterator[av.Packet], stream: av.VideoStream) -> Iterator[av.Packet]:
    """The packets up to where the file cannot be read any further, and the decoders' flush."""
    count, first, last = 0, None, None
    try:
        for packet in packets:
            if packet.stream.index == stream.index and packet.size > 0:
                count += 1
                last = packet.dts if packet.dts is not None else last
                first = last if first is None else first
            yield packet
    except av.InvalidDataError:
        flush = av.Packet()
        flush.stream = stream
        yield flush
    if stream.frames > count + 1 and not _reaches_end(stream, first, last):
        log.warning("%s is cut short: its index lists %d frames, %d of them are there", path, stream.frames, count)


def _reaches_end(stream: av.VideoStream, first: int | None, last: int | None) -> bool:
    """Whether the packets between these decoding stamps are the whole stream: an AVI also lists frames of no bytes."""
    if first is None or last is None or not stream.duration or not stream.time_base:
        return False
    step = 1 / (stream.guessed_rate or Fraction(25)) / stream.time_base
    return last - first + 2 * step >= stream.duration
