"""One timeline for picture and sound, also for files with irregular time stamps.

A container's stamps may start anywhere, wrap, jump where two recordings were joined, or go backwards by some frames.
Both passes over a file, the one that decodes pictures and the one that copies sound, read the same `Packets`, so they
agree on every repair. Seconds are exact fractions.
"""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, islice

import av
from av.format import Flags
from av.stream import Disposition

from pack.video.container import demux, of_other_programs

BACKWARD = Fraction(1, 4)  # seconds that decoding stamps may step back before it is taken for a splice
FORWARD = 10  # seconds that may be missing from every stream of a broadcast format; FFmpeg's dts_delta_threshold
LOOK_AHEAD = 1000  # packets read after a splice to find where each stream continues
STEADY = 50  # packets after which a stream that has not jumped is assumed to have no splice
REORDER = 8  # frames whose stamps are put in order
OPENING = 10_000  # packets read for the first stamp of a picture; Matroska's blocks reach 33 s back at most


class Splice:
    """Opaque value of the first packet of a stream behind a splice; PyAV keeps such objects by identity."""


@dataclass
class _Timeline:
    """What has been read of a file so far, in repaired seconds."""

    broadcast: bool  # whether jumps ahead are repaired too
    offset: Fraction = Fraction(0)  # added to the container's stamps since the last splice
    before: Fraction = Fraction(0)  # added before it
    late: set[int] = field(default_factory=set)  # streams of which packets from before the splice may still come
    last: dict[int, Fraction] = field(default_factory=dict)  # by stream: decoding stamp of its last packet
    ends: dict[int, Fraction] = field(default_factory=dict)  # by stream: where its last packet ends
    shown: dict[str, Fraction] = field(default_factory=dict)  # by kind of stream: until when it is seen or heard
    splices: int = 0
    parts: dict[int, int] = field(default_factory=dict)  # by stream: splices before its last packet

    def jumps(self, packet: av.Packet) -> bool:
        """Whether the stamps of this packet do not continue those before it."""
        index = packet.stream.index
        if not is_timed(packet) or not self.last:
            return False
        seconds = stamp(packet) + (self.before if index in self.late else self.offset)
        if seconds < self.last.get(index, seconds) - BACKWARD:
            return True
        # A pause of one stream is no splice: another one's stamps have come near by then.
        return self.broadcast and seconds > max(self.last.values()) + FORWARD

    def add(self, packet: av.Packet) -> None:
        """Shift the packet's stamps, and store the position of its stream."""
        index = packet.stream.index
        part = self.splices - (index in self.late)
        if self.parts.setdefault(index, part) != part:
            packet.opaque = Splice()
        self.parts[index] = part
        ticks = round((self.before if index in self.late else self.offset) / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
        if is_timed(packet):
            seconds = stamp(packet)
            duration = (packet.duration or 0) * packet.time_base or max(0, seconds - self.last.get(index, seconds))
            self.last[index] = seconds
            self.ends[index] = max(self.ends.get(index, seconds), seconds + duration)
            end = seconds + duration if packet.pts is None else packet.pts * packet.time_base + duration
            self.shown[packet.stream.type] = max(self.shown.get(packet.stream.type, end), end)

    def offset_behind(self, starts: dict[str, Fraction]) -> Fraction:
        """The offset of another recording that begins at these stamps of picture and sound.

        Its clock is kept where it goes on, or a broadcast has a gap there; else its beginning follows the end, so that
        nothing overlaps and picture or sound has no gap.
        """
        kinds = starts.keys() & self.shown.keys()
        gap = min((starts[kind] + self.offset - self.shown[kind] for kind in kinds), default=Fraction(0))
        return self.offset if 0 <= gap <= FORWARD else self.offset - gap

    def join(self, packets: list[av.Packet]) -> None:
        """Choose the offset from these packets, so that no stream steps back, and one of them has no gap."""
        firsts: dict[int, Fraction] = {}
        steady: Counter[int] = Counter()  # packets of streams that have not jumped
        ends = dict(self.ends)
        for packet in filter(is_timed, packets):
            index = packet.stream.index
            if index in firsts:
                continue
            if self.jumps(packet):
                firsts[index] = stamp(packet)
            elif index in self.ends:  # else it begins behind the splice
                steady[index] += 1
                ends[index] = stamp(packet) + self.offset + (packet.duration or 0) * packet.time_base
        lasting = {index for index, count in steady.items() if index not in firsts and count >= STEADY}
        self.before = self.offset
        if not lasting:  # else one stream overlaps itself, while the others go on
            self.offset = max((ends[i] - first for i, first in firsts.items() if i in ends), default=self.offset)
            self.late = set(steady)
            self.splices += 1
        self.last.pop(packets[0].stream.index, None)


class Packets(Iterator[av.Packet]):
    """All packets of a file's picture, sound and subtitle streams of one program, their stamps repaired.

    Where stamps jump back, as where two recordings were joined, they continue from the end of the streams before; so
    do stamps that jump ahead in a broadcast format. Picture and sound are always moved together. The packets of a
    recording that was joined with the one `before`, which was read to its end, continue its timeline.
    """

    origin: Fraction  # the second on the container's clock at which the film begins
    timeline: _Timeline

    def __init__(self, container: av.container.InputContainer, before: "Packets | None" = None):
        others = of_other_programs(container)
        own = [stream for stream in container.streams if stream.index not in others]
        packets = demux(container, [s for s in own if s.type in ("video", "audio", "subtitle") and s.codec_context])
        opening = _read_opening(container, packets)
        early = _date_back(container, opening)
        stated = _starts(own)
        if not stated:  # as for a single frame
            opening += islice(packets, REORDER)
            early = min((seconds for packet in opening if (seconds := _seconds(packet)) is not None), default=early)
        starts = [start for start in (*stated.values(), early) if start is not None]
        self.origin = before.origin if before else min(starts, default=Fraction(0))
        broadcast = bool(container.format.flags & Flags.ts_discont.value)
        offset = before.timeline.offset_behind(stated) if before else Fraction(0)
        self.timeline = _Timeline(broadcast, offset)
        self._packets = _repaired(chain(opening, packets), self.timeline)

    def __next__(self) -> av.Packet:
        return next(self._packets)


def _repaired(packets: Iterator[av.Packet], timeline: _Timeline) -> Iterator[av.Packet]:
    """The packets with the stamps of one timeline."""
    ahead: deque[av.Packet] = deque()
    while True:
        packet = ahead.popleft() if ahead else next(packets, None)
        if packet is None:
            return
        if timeline.jumps(packet):
            index = packet.stream.index
            if index in timeline.late:  # the splice that another stream showed first
                timeline.late.discard(index)
                timeline.last.pop(index, None)
            else:
                seen = _look_ahead(packet, chain(_drain(ahead), packets), timeline)
                timeline.join(seen)
                ahead.extendleft(reversed(seen[1:]))
        timeline.add(packet)
        yield packet


def _read_opening(container: av.container.InputContainer, packets: Iterator[av.Packet]) -> list[av.Packet]:
    """The packets up to the first stamped pictures, where the first picture of a Matroska has no stamp.

    FFmpeg gives none to a picture before 0. With B-frames, such pictures may also follow the first stamped one.
    """
    read: list[av.Packet] = []
    picture = container.streams.best("video")
    if picture is None or "matroska" not in container.format.name:
        return read
    pictures = stamped = 0
    for packet in packets:
        read.append(packet)
        if packet.stream.index == picture.index:
            pictures += 1
            stamped += stamped > 0 or _seconds(packet) is not None
            if stamped > REORDER or stamped == pictures:
                break
        if len(read) == OPENING:
            break
    return read


def _date_back(container: av.container.InputContainer, packets: list[av.Packet]) -> Fraction | None:
    """Give stamps to pictures before the earliest stamped one; the second of the first, None where none was missing."""
    picture = container.streams.best("video")
    pictures = [packet for packet in packets if picture and packet.stream.index == picture.index and packet.size]
    stamps = [seconds for seconds in map(_seconds, pictures) if seconds is not None]
    missing = [packet for packet in pictures if _seconds(packet) is None]
    if not isinstance(picture, av.VideoStream) or not stamps or not missing:
        return None
    step = 1 / (picture.guessed_rate or Fraction(25))
    first = min(stamps) - len(missing) * step
    for number, packet in enumerate(missing):
        packet.pts = round((first + number * step) / packet.time_base)
    return _seconds(missing[0])


def _seconds(packet: av.Packet) -> Fraction | None:
    """Where a packet is shown, or else decoded; None without any stamp."""
    ticks = packet.dts if packet.pts is None else packet.pts
    return None if ticks is None else ticks * packet.time_base


def _drain(queue):
    while queue:
        yield queue.popleft()


def _look_ahead(packet, packets, timeline):
    """This packet and the next ones, until each of the streams has jumped."""
    ahead, jumped = [packet], {packet.stream.index}
    while not timeline.ends.keys() <= jumped and len(ahead) < LOOK_AHEAD:
        packet = next(packets, None)
        if packet is None:
            break
        ahead.append(packet)
        if timeline.jumps(packet):
            jumped.add(packet.stream.index)
    return ahead


def is_timed(packet: av.Packet) -> bool:
    """Whether the packet is one of picture or sound and has a decoding stamp; subtitles are too sparse to judge by.

    Stamps of what an edit list cuts off say nothing: they step back to where decoding of the next part begins.
    """
    return packet.stream.type in ("video", "audio") and packet.dts is not None and not packet.is_discard


def stamp(packet: av.Packet) -> Fraction:
    """The decoding stamp of a packet in seconds."""
    return packet.dts * packet.time_base


def _starts(streams: Iterable[av.stream.Stream]) -> dict[str, Fraction]:
    """The earliest start of the pictures and of the sounds that the container states."""
    starts: dict[str, Fraction] = {}
    for stream in streams:
        if stream.start_time is not None and not stream.disposition & Disposition.attached_pic:
            start = Fraction(stream.start_time * stream.time_base)
            starts[stream.type] = min(starts.get(stream.type, start), start)
    return {kind: start for kind, start in starts.items() if kind in ("video", "audio")}


def in_order(
    items: Iterable[tuple], step: Fraction, is_apart: Callable[[tuple], bool] = lambda _: False
) -> Iterator[tuple[Fraction, tuple]]:
    """(seconds, (frame, ...)) of each (frame, ...); seconds ascend.

    Decoders give frames in the order of presentation. Where their stamps do not ascend, because the container stores
    only decoding stamps (AVI) or was written badly, the stamps are sorted among neighbouring frames; errors do not
    accumulate. A frame without a stamp, or with one that is used already, follows the one before it by `step` at most.
    Where `is_apart` says so of an item, its frame keeps its own stamp, which says nothing of the others.
    """
    held, stamps, seconds, last = deque(), [], None, None
    for item in chain(items, [None]):
        if item is not None:
            frame = item[0]
            if frame.pts is not None:
                seconds = frame.pts * frame.time_base
            else:
                seconds = Fraction(0) if seconds is None else seconds + step
            own = seconds if is_apart(item) else None
            if own is None:
                heapq.heappush(stamps, seconds)
            held.append((own, item))
        while held and (len(held) > REORDER or item is None):
            own, first = held.popleft()
            if own is not None:
                yield own, first
                continue
            earliest = heapq.heappop(stamps)
            last = earliest if last is None or earliest > last else _between(last, stamps, step)
            yield last, first


def _between(last, stamps, step):
    """Where a frame belongs whose stamp was used before: behind the last one, ahead of the next."""
    later = [stamp for stamp in stamps if stamp > last]
    used = 1 + len(stamps) - len(later)  # this one's, and of those that wait
    return last + (min(step, (min(later) - last) / (used + 1)) if later else step)


def limit_rate(timed: Iterable[tuple], max_fps: float) -> Iterator[tuple]:
    """The items (seconds, ...) that remain when frames that come too early for `max_fps` are dropped; none is repeated.

    60 and 50 frames a second become 30 and 25 at max_fps 30: the steps between frames stay even. A fifth of a period
    is tolerated as jitter; a delay of more than a tenth is not compensated, which keeps the steps even.
    """
    period = 1 / Fraction(max_fps)
    due = None
    for item in timed:
        seconds = item[0]
        if due is None or seconds >= due - period / 5:
            yield item
            due = max((seconds if due is None else due) + period, seconds + period * 9 / 10)
