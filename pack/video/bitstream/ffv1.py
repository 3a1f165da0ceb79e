"""Slices of FFV1, whose checksums FFmpeg checks without passing on what it found: it shows older slices instead.

Reference: RFC 9043, 4.9 (slice footer) and 4.9.3 (CRC-32 with the generator 0x04C11DB7, most significant bit first).
"""

import zlib

FOOTER = 8  # bytes: size of the slice 3, status 1, checksum 4
# zlib's CRC has the same generator, but takes the least significant bit first.
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
ONES = 0xFFFFFFFF  # zlib inverts the register at both ends


class SliceChecks:
    """The checksums of a stream, packet by packet; a stream without them never has damage."""

    def __init__(self) -> None:
        self.has_checksums = False  # known from the first packet whose checksums are right

    def is_whole(self, data: bytes) -> bool:
        """Whether every slice of a packet has the checksum that it states."""
        right = bool(data) and _are_right(data)
        self.has_checksums |= right
        return right or not self.has_checksums or not data


def _are_right(data: bytes) -> bool:
    """Whether a packet divides into slices, from its end on, whose checksums make 0 of them."""
    end = len(data)
    while end > 0:
        start = end - FOOTER - int.from_bytes(data[end - FOOTER : end - FOOTER + 3])
        if end < FOOTER or start < 0 or zlib.crc32(data[start:end].translate(MIRRORED), ONES) != ONES:
            return False
        end = start
    return True
