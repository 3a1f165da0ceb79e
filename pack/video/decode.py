"""Decodes a video and leaves out damaged frames.

Damage is judged by the decoder's output and by what packets show (`pack.video.packet_damage`). Frames that are
predicted from a damaged one are damaged too, up to the next whole key frame.
"""

import logging
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av

from pack.video import timestamps
from pack.video.container import catching_damage, is_too_large
from pack.video.packet_damage import inspected
from tools.cli import UserError, plural

log = logging.getLogger(__name__)

# Codecs whose first frame is a key frame; those of broadcasts may build up their picture from parts of several frames.
NEEDS_KEY = {"mpeg4", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "h263", "flv1", "vp8", "vp9"}
KEPT = 64  # packets and key frames that are remembered, more than any decoder holds back
WIDEST = 10  # width to height of a pixel, or the reverse; anamorphic films and half layouts have up to 2
HELD = 4  # frames held back, of which a damaged one may be the reference


@dataclass(frozen=True)
class Decoded:
    """A frame as the decoder gives it."""

    frame: av.VideoFrame
    aspect: Fraction  # width to height of a pixel
    stretch: int  # damaged stretches before it


@dataclass(frozen=True)
class _Lost:
    """Stands for a frame that could not be decoded at all."""

    pts: int | None
    time_base: Fraction


@dataclass
class _Overdue:
    """The packets of a damaged stretch that have given no picture so far, by their number in the order of decoding.

    Only a damaged packet shows that a picture is missing. Others may rightly give none: hidden pictures, second fields,
    parameter sets, or what comes before the first key frame. Behind a damaged one, decoders also drop whole packets, up
    to the next key frame.
    """

    packets: dict[int, _Lost] = field(default_factory=dict)
    damaged: bool = False  # whether pictures that follow in the order of decoding are part of the stretch
    key: int | None = None  # stamp of the key frame that ended it; what is shown before that still belongs to it
    stamped: bool = False  # whether stamps were seen that tell the order of presentation from that of decoding

    def add(self, number: int, packet: av.Packet, damaged: bool) -> None:
        """Wait for the picture of a packet, if it is damaged or follows one whose picture has not come."""
        if not packet.size or packet.is_discard:
            return
        self.stamped |= packet.pts != packet.dts
        if damaged:
            self.damaged, self.key = True, None
        elif packet.is_keyframe and self.key is None:
            self.key = packet.pts
        ahead = self.key is None or (packet.pts is not None and packet.pts < self.key)
        self.damaged = self.damaged and bool(damaged or self.packets)
        if self.damaged and (damaged or (ahead and not packet.is_keyframe)):
            self.packets[number] = _Lost(packet.pts, packet.time_base)

    def pop_before(self, number: int, frame: av.VideoFrame, reordered: bool) -> list[_Lost]:
        """The pictures that are missing before this frame, of packet `number`, in the order of presentation.

        Decoders give frames in that order, so those before it do not come any more. Where it is unknown, as that of
        `reordered` frames in AVI, a key frame shows it.
        """
        self.packets.pop(number, None)
        known = frame.pts is not None and (self.stamped or not reordered)
        late = [
            other
            for other, lost in self.packets.items()
            if (other < number and frame.key_frame) or (known and lost.pts is not None and lost.pts < frame.pts)
        ]
        return _ordered([self.packets.pop(other) for other in late])

    def pop_all(self) -> list[_Lost]:
        """The pictures that are missing at the end, after the decoder gave its last frame."""
        rest = _ordered(list(self.packets.values()))
        self.packets.clear()
        return rest


def _ordered(lost):
    return sorted(lost, key=lambda one: (one.pts is None, one.pts or 0))


@dataclass(frozen=True)
class _Held:
    """A decoded frame that is held back until it is known whether those that it may be predicted from are damaged."""

    packet: int  # number of its packet
    since: int | None  # of its packet
    frame: av.VideoFrame | _Lost
    aspect: Fraction
    damaged: bool


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


@dataclass
class _PixelShape:
    """The shapes of pixels that a film states; absurd ones count as square, and are named once."""

    path: str | Path
    refused: set[Fraction] = field(default_factory=set)

    def of(self, frame: av.VideoFrame, aspect: Fraction) -> Fraction:
        """The aspect, or 1 where it would make the picture larger than any film's."""
        wide, high = frame.width * max(aspect, 1), frame.height / min(aspect, 1)
        if Fraction(1, WIDEST) <= aspect <= WIDEST and not is_too_large(int(wide), int(high)):
            return aspect
        if aspect not in self.refused:
            self.refused.add(aspect)
            log.warning("%s states pixels of the shape %s: taken for square ones", self.path, aspect)
        return Fraction(1)


def decode(
    path: str | Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    packets: timestamps.Packets | None = None,
) -> Iterator[tuple[Fraction, Decoded]]:
    """Whole frames with their seconds on the film's timeline; `packets` are those of the container, if made already.

    A damaged stretch is logged as a warning. Raises UserError where no frame can be decoded.
    """
    step = 1 / (stream.guessed_rate or Fraction(25))
    packets = packets or timestamps.Packets(container)
    ahead: list[Fraction] = []  # seconds of damaged frames; decoders may give these too early
    stretches, found = 0, False
    frames = _all_frames(path, packets, container, stream)
    for seconds, (frame, aspect, damaged, _) in timestamps.in_order(frames, step, lambda one: one[2] and one[3]):
        seconds -= packets.origin
        if damaged:
            ahead.append(seconds)
            continue
        if stretch := sorted(other for other in ahead if other <= seconds):
            _warn(path, stretch, step)
            ahead, stretches = [other for other in ahead if other > seconds], stretches + 1
        found = True
        yield seconds, Decoded(frame, aspect, stretches)
    if not found:
        raise UserError(f"{path} has a video stream without a frame that can be decoded: download it again")
    if ahead:
        _warn(path, sorted(ahead), step)


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
) -> Iterator[tuple[av.VideoFrame | _Lost, Fraction, bool, bool]]:
    """Every frame that the decoder gives, in order of presentation, its pixel aspect, and whether it is damaged.

    The last value is whether its stamp is known to be its own, as the container tells the order of presentation.
    """
    damage, overdue, context = _Damage(), _Overdue(), stream.codec_context
    held: deque[_Held] = deque()
    first, stated = context.sample_aspect_ratio, stream.sample_aspect_ratio  # the container's value has precedence
    shape = _PixelShape(path)
    context.copy_opaque = True  # each frame then carries the numbers of its packet
    failure = ""
    for number, found in enumerate(inspected(path, packets, container, stream)):
        found.packet.opaque = (number, found.since)  # a new object: PyAV keeps them by identity
        for start in found.begins:
            damage.begins(max(start, 0))
        frames: list[av.VideoFrame] = []
        with catching_damage() as caught:  # for damaged bytes decoders have several codes
            try:
                frames = found.packet.decode()
            except EOFError:  # a second flush, after a demuxer that ended twice
                continue
        failed = caught.error is not None and not found.beside
        if failed:
            damage.begins(number)
            failure = caught.reason
            if found.packet.size and not context.codec.reorder:  # else the frames that follow show the damage
                lost = _Lost(found.packet.pts, found.packet.time_base)
                held.append(_Held(number, None, lost, Fraction(1), True))
        if context.codec.reorder:
            # What comes before the first picture may rightly fail: parameter sets are missing there.
            known = found.foreign or (damage.seen and (failed or number in found.begins))
            overdue.add(number, found.packet, known)
        for frame in frames:
            own, since = frame.opaque if isinstance(frame.opaque, tuple) else (number, None)
            late = overdue.pop_before(own, frame, context.has_b_frames)
            held.extend(_Held(own, None, lost, Fraction(1), True) for lost in late)
            is_first = not damage.seen
            damage.seen = True
            too_large = is_too_large(frame.width, frame.height)
            if too_large or frame.is_corrupt or (is_first and context.name in NEEDS_KEY and not frame.key_frame):
                damage.begins(own)
            now = context.sample_aspect_ratio
            aspect = (stated if now == first else now) or Fraction(1)
            if too_large:  # its memory is given back
                held.append(_Held(own, since, _Lost(frame.pts, found.packet.time_base), Fraction(1), True))
                continue
            damaged = damage.touches(own, frame.key_frame, since)
            held.append(_Held(own, since, frame, shape.of(frame, aspect), damaged))
        while len(held) > HELD:
            yield *_release(damage, held), overdue.stamped
    held.extend(_Held(0, None, lost, Fraction(1), True) for lost in overdue.pop_all())
    while held:
        yield *_release(damage, held), overdue.stamped
    if failure and not damage.seen:
        raise UserError(
            f"{path} has a video stream without a frame that can be decoded ({failure}): download it again, "
            f"or convert it"
        )


def _release(damage: _Damage, held: deque[_Held]) -> tuple[av.VideoFrame | _Lost, Fraction, bool]:
    first = held.popleft()
    if isinstance(first.frame, _Lost):
        return first.frame, first.aspect, True
    # A frame shown before a damaged one may be predicted from it, and was judged before that was known.
    damaged = first.damaged or damage.touches(first.packet, first.frame.key_frame, first.since)
    return first.frame, first.aspect, damaged
