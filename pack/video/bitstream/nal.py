"""NAL units of H.264 and HEVC: what their bytes say that FFmpeg's decoders do not pass on.

References: ITU-T H.264 and H.265, 7.4.1 and annex B (byte stream); ISO 14496-15 (length prefixes of MP4 and Matroska);
ETSI GS CCM 001, 5.1 and 5.2 (Dolby Vision).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import av

LAST_SLICE = {"h264": 5, "hevc": 31}  # types of slices are those from 0 to this one, by codec
BESIDE = {"h264": range(6, 13), "hevc": range(32, 41)}  # types without pictures: parameters, delimiters, filler ...
START_CODES = {"mpeg1video", "mpeg2video", "mpeg4"}  # codecs without NAL units, whose parts begin like these
SHORT_HEADER = 32  # with which MPEG-4 may begin a picture instead (ISO 14496-2, 6.2.5.2)
RADL = (6, 7)  # types in HEVC of pictures that are shown before their key frame but need nothing before that
RPU = 62  # type in HEVC: how Dolby Vision's picture is to be shown
# Encoders put a 3 into such zeros, so within a unit they show bytes that were overwritten, mostly by zeros.
FORBIDDEN = (b"\0\0\0", b"\0\0\1", b"\0\0\2")


@dataclass(frozen=True)
class Units:
    """The NAL units of a packet."""

    codec: str
    units: list[bytes]  # without trailing zeros
    fits: bool  # whether their lengths add up to the packet

    @classmethod
    def of(cls, data: bytes, size: int, codec: str) -> "Units":
        """Those of a packet with lengths of `size` bytes, or with start codes where it is 0."""
        if not size:
            return cls(codec, [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1")[1:]], True)
        units, at = [], 0
        while len(data) - at >= 4:  # FFmpeg ignores fewer
            first = at + size
            at = first + int.from_bytes(data[at:first])
            if not first < at <= len(data):
                return cls(codec, units, False)
            units.append(data[first:at].rstrip(b"\0"))
        return cls(codec, units, True)

    @property
    def is_whole(self) -> bool:
        """Whether the lengths add up, and no slice has bytes that no encoder writes."""
        slices = self._of_types(range(LAST_SLICE[self.codec] + 1))
        return self.fits and not any(zeros in unit for unit in slices for zeros in FORBIDDEN)

    @property
    def is_beside(self) -> bool:
        """Whether there are whole units, none of them of a picture, for which the decoder of H.264 reports an error."""
        return self.fits and bool(self.units) and len(self._of_types(BESIDE[self.codec])) == len(self.units)

    @property
    def is_radl(self) -> bool:
        """Whether the picture is shown before its key frame and predicted from nothing before that (HEVC alone)."""
        return self.codec == "hevc" and bool(self._of_types(RADL))

    @property
    def is_profile_5(self) -> bool:
        """Whether Dolby Vision's data say that the picture is IPTPQc2. MPEG-TS says it nowhere else."""
        return self.codec == "hevc" and any(_says_profile_5(unit[2:]) for unit in self._of_types([RPU]))

    def _of_types(self, types: Iterable[int]) -> list[bytes]:
        return [unit for unit in self.units if unit and self._type(unit) in types]

    def _type(self, unit: bytes) -> int:
        return unit[0] & 31 if self.codec == "h264" else unit[0] >> 1 & 63


def length_size(context: av.CodecContext) -> int:
    """Bytes of the length before each unit of a stream; 0 where units begin with a start code."""
    place = 4 if context.name == "h264" else 21  # in avcC and hvcC
    head = bytes(context.extradata or b"")
    return (head[place] & 3) + 1 if len(head) > place and head[0] == 1 else 0


def is_foreign(data: bytes, size: int, codec: str) -> bool:
    """Whether a packet of these codecs has no unit, as where all of it was overwritten.

    `size` is that of the lengths before units, 0 for start codes. Fewer than four bytes are ignored, as FFmpeg does.
    """
    if len(data) < 4 or codec not in {*LAST_SLICE, *START_CODES}:
        return False
    if codec in START_CODES:
        return b"\0\0\1" not in data and int.from_bytes(data[:3]) >> 2 != SHORT_HEADER
    return not Units.of(data, size, codec).units


def is_closed(data: bytes) -> bool:
    """Whether a group of pictures of MPEG-1 or MPEG-2 says that none of it is predicted from the group before."""
    place = data.find(b"\0\0\1\xb8")  # ITU-T H.262, 6.2.2.6
    return place >= 0 and len(data) > place + 7 and bool(data[place + 7] & 64)


def _says_profile_5(rpu: bytes) -> bool:
    """Whether the profile of an RPU is 0, and the range of its picture full."""
    bits = int.from_bytes(rpu[:16].ljust(16, b"\0"))

    def read(start: int, count: int) -> int:
        return bits >> (128 - start - count) & ((1 << count) - 1)

    at = 37  # behind prefix 8, type 6, format 11, profile 4, level 4, sequence 1, filter 1, type of coefficients 2
    if rpu[:1] != b"\x19" or read(25, 4) != 0 or not read(33, 1):
        return False
    if not read(35, 2):  # an Exp-Golomb code of the coefficients' denominator
        zeros = next((n for n in range(16) if read(at + n, 1)), 16)
        at += 2 * zeros + 1
    return bool(read(at + 2, 1))
