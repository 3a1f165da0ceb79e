"""Cuts a part out of a JPEG as a JPEG of its own with the same pixels.

A decoder can begin at any restart marker between blocks of 8x8 pixels. Blocks outside of a part can therefore be
dropped before the file is decoded, which takes most of a sample's time (ITU-T T.81, sections B.2 and E.1.4).
"""

import struct

import numpy as np

from pack.shards.images.limits import LARGEST_SIDE

BLOCK = 8  # pixels
BLOCKS = 8  # between restart markers, at most: these take 2 % of the bytes, and a part has up to 126 columns too many
BEGIN = b"\xff\xd8"
SIZE, HUFFMAN, END, SCAN, RESTART_INTERVAL = 0xC0, 0xC4, 0xD9, 0xDA, 0xDD  # markers, after a byte 0xFF
OTHER_KINDS = {0xC0 + n for n in range(1, 16)} - {HUFFMAN}  # progressive, arithmetic, ...


def restart_interval(width: int) -> int:
    """The number of blocks between markers in a row of this many pixels; it divides the blocks of the row."""
    columns = -(-width // BLOCK)
    return next((count for count in range(BLOCKS, BLOCKS // 2, -1) if columns % count == 0), columns)


def count_scans(data: bytes) -> int:
    """The number of times that decoding a whole JPEG passes over all of its pixels; a thumbnail in it counts too."""
    return data.count(bytes([0xFF, SCAN]))  # 0xFF of image data is followed by 00


def part_of(data: bytes, box: tuple[int, int, int, int]) -> tuple[bytearray, tuple[int, int]] | None:
    """A JPEG of the blocks that hold box (left, top, right, bottom), and the position (left, top) of its corner.

    None where that is impossible: without restart markers in each row, or where components differ in resolution.
    """
    found = _read(data)
    if found is None:
        return None
    header, size_at, interval, scan, end = found
    height, width = struct.unpack_from(">HH", header, size_at)
    if max(height, width) > LARGEST_SIDE:
        return None
    across, rows = -(-width // (BLOCK * interval)), -(-height // BLOCK)
    codes = np.frombuffer(data, np.uint8)
    marks = scan + np.flatnonzero(codes[scan:end] == 0xFF)
    marks = marks[(codes[marks + 1] & 0xF8) == 0xD0]  # D0 to D7 in turn; a 0xFF of the image data is followed by 00
    if box[2] > width or box[3] > height or len(marks) + 1 != across * rows or -(-width // BLOCK) % interval:
        return None
    first, last = box[0] // (BLOCK * interval), -(-box[2] // (BLOCK * interval))
    top, bottom = box[1] // BLOCK, -(-box[3] // BLOCK)
    begins = np.append(scan, marks + 2).reshape(rows, across)[top:bottom, first:last]
    ends = np.append(marks, end).reshape(rows, across)[top:bottom, first:last]
    lines = zip(begins[:, 0].tolist(), (ends[:, -1] + 2).tolist(), strict=True)  # with the marker that follows
    struct.pack_into(">HH", header, size_at, (bottom - top) * BLOCK, (last - first) * interval * BLOCK)
    part = header + b"".join([data[begin:stop] for begin, stop in lines])
    codes = np.frombuffer(part, np.uint8)
    following = len(header) - 1 + np.cumsum(ends - begins + 2)  # the second byte of each marker
    codes[following] = 0xD0 + np.arange(len(following)) % 8
    codes[following[-1]] = END
    return part, (first * interval * BLOCK, top * BLOCK)


def _read(data):  # -> header, position of height and width in it, restart interval, begin and end of the scan
    header, at, size_at, interval, components = bytearray(data[:2]), 2, 0, 0, b""
    if data[:2] != BEGIN or data[-2:] != b"\xff\xd9":
        return None
    while at + 4 <= len(data):
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4]) + 2
        segment = data[at : at + length]
        if marker in OTHER_KINDS or data[at] != 0xFF or len(segment) < length:
            return None
        if marker == SIZE:
            size_at, components = len(header) + 5, segment[9:10]
            if any(sampling != 0x11 for sampling in segment[11::3]):
                return None
        if marker == RESTART_INTERVAL:
            interval = int.from_bytes(segment[4:6])
        header += segment
        at += length
        if marker == SCAN:
            whole = size_at and interval and segment[4:5] == components  # no other scan follows
            return (header, size_at, interval, at, len(data) - 2) if whole else None
    return None
