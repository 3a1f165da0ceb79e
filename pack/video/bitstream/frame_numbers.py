"""Finds where reference pictures of H.264 are missing, by the frame numbers in its slices.

FFmpeg's decoder fills such gaps with copies of other pictures and reports nothing. Reference: ITU-T H.264, 7.3.2.1.1
(sequence parameter set), 7.3.3 (slice header) and 7.4.3 (frame_num).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import av

IDR, SEQUENCE, PICTURE = 5, 7, 8  # types of units
SLICES = (1, 2, IDR)
HEADER = 64  # bytes of a slice that hold more than what is read of its header
WITH_CHROMA = (44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244)  # profiles that state a chroma format


@dataclass(frozen=True)
class _Sequence:
    """What a sequence parameter set says of frame numbers."""

    bits: int  # of a frame number
    planes: bool  # whether slices belong to one of three planes
    gaps: bool  # whether numbers may be left out


class FrameNumbers:
    """The frame numbers of a stream, packet by packet."""

    def __init__(self, context: av.VideoCodecContext):
        self.sequences: dict[int, _Sequence] = {}
        self.pictures: dict[int, int] = {}  # the sequence of each picture parameter set
        self.last: int | None = None  # number of the last reference picture
        self._learn(_configured(bytes(context.extradata or b"")))

    def skip(self, units: Iterable[bytes], is_key: bool) -> bool:
        """Whether a reference picture is missing between the packet before and this one, of these NAL units.

        Damaged headers say nothing. Before a key frame nothing is missed. A picture that resets the count (by
        memory_management_control_operation 5, which is rare) looks like a skip.
        """
        units = [unit for unit in units if unit]
        self._learn(units)
        for unit in units:
            if unit[0] & 31 in SLICES:
                return self._begins(unit, is_key)
        return False

    def _begins(self, unit, is_key):
        found = self._number(unit)
        if found is None:
            self.last = None
            return False
        number, sequence = found
        before, is_reference = self.last, unit[0] & 0x60
        if is_reference:
            self.last = number
        if before is None or is_key or unit[0] & 31 == IDR or sequence.gaps:
            return False
        return number not in (before, (before + 1) % (1 << sequence.bits))

    def _number(self, unit):
        bits = _Bits(unit[1:HEADER])
        try:
            bits.golomb(), bits.golomb()  # first macroblock, type
            sequence = self.sequences[self.pictures[bits.golomb()]]
            if sequence.planes:
                bits.read(2)
            return bits.read(sequence.bits), sequence
        except (IndexError, KeyError):
            return None

    def _learn(self, units):
        for unit in units:
            try:
                if unit[0] & 31 == SEQUENCE:
                    number, sequence = _sequence(_Bits(unit[1:]))
                    self.sequences[number] = sequence
                elif unit[0] & 31 == PICTURE:
                    bits = _Bits(unit[1:HEADER])
                    self.pictures[bits.golomb()] = bits.golomb()
            except IndexError:
                continue


class _Bits:
    """Reads the bits of a NAL unit behind its first byte. Raises IndexError at the end."""

    def __init__(self, data: bytes):
        data = data.replace(b"\0\0\3", b"\0\0")
        self.bits, self.left = int.from_bytes(data), 8 * len(data)

    def read(self, count: int) -> int:
        if count > self.left:
            raise IndexError("no bits are left")
        self.left -= count
        return self.bits >> self.left & ((1 << count) - 1)

    def golomb(self) -> int:
        """An unsigned Exp-Golomb code."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)

    def signed(self) -> int:
        code = self.golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def _sequence(bits: _Bits) -> tuple[int, _Sequence]:
    """The number of a sequence parameter set, and what it says."""
    profile, _, number = bits.read(8), bits.read(16), bits.golomb()
    planes = False
    if profile in WITH_CHROMA:
        chroma = bits.golomb()
        planes = chroma == 3 and bool(bits.read(1))
        bits.golomb(), bits.golomb(), bits.read(1)  # bit depths, lossless
        if bits.read(1):
            for n in range(12 if chroma == 3 else 8):
                if bits.read(1):
                    _skip_scaling(bits, 16 if n < 6 else 64)
    width = bits.golomb() + 4
    order = bits.golomb()  # how the order of presentation is coded
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.read(1), bits.signed(), bits.signed()
        for _ in range(bits.golomb()):
            bits.signed()
    bits.golomb()  # reference frames
    return number, _Sequence(width, planes, bool(bits.read(1)))


def _skip_scaling(bits, size):
    last = scale = 8
    for _ in range(size):
        if scale:
            scale = (last + bits.signed()) % 256
        last = scale or last


def _configured(extradata: bytes) -> list[bytes]:
    """The parameter sets in the header of MP4 or Matroska (avcC, ISO 14496-15)."""
    units, at = [], 5
    for mask in (31, 255):
        count = extradata[at] & mask if extradata[:1] == b"\1" and at < len(extradata) else 0
        at += 1
        for _ in range(count):
            size = int.from_bytes(extradata[at : at + 2])
            units.append(extradata[at + 2 : at + 2 + size])
            at += 2 + size
    return [unit for unit in units if unit]
