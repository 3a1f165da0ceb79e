"""Packets that should have given a picture and gave none: where all of their bytes are lost, decoders say nothing.

Only a packet that is damaged shows that a picture is missing. Others may rightly give none: hidden pictures, second
fields, parameter sets, or what comes before the first key frame. Behind a damaged one, decoders also drop whole
packets, up to the next key frame.
"""

from dataclasses import dataclass, field
from fractions import Fraction

import av


@dataclass(frozen=True)
class Lost:
    """Stands for a frame that could not be decoded at all."""

    pts: int | None
    time_base: Fraction


@dataclass
class Overdue:
    """The packets of a damaged stretch that have given no picture so far, by their number in the order of decoding."""

    packets: dict[int, Lost] = field(default_factory=dict)
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
            self.packets[number] = Lost(packet.pts, packet.time_base)

    def pop_before(self, number: int, frame: av.VideoFrame, reordered: bool) -> list[Lost]:
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
        return _in_order([self.packets.pop(other) for other in late])

    def pop_all(self) -> list[Lost]:
        """The pictures that are missing at the end, after the decoder gave its last frame."""
        rest = _in_order(list(self.packets.values()))
        self.packets.clear()
        return rest


def _in_order(lost):
    return sorted(lost, key=lambda one: (one.pts is None, one.pts or 0))
