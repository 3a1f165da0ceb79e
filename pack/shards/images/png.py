"""PNG faster than Pillow: masks without filters, and a part of an image without decoding the rows below it.

A mask is long runs of few values, which filters break: without them it is smaller, written in half the time and read in
a quarter of the time (PNG specification, sections 9 and 11). Whatever is unusual or damaged is left to Pillow: every
function here returns None for it.
"""

import struct
import zlib

import numpy as np
from zlib_ng import zlib_ng  # inflates several times as fast; zlib deflates, so that no byte depends on the version

from pack.shards.images.limits import LARGEST_SIDE

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = b"\0\0\0\x0dIHDR"  # length and name of the first chunk
SIZE, FORMAT, CHECKSUM, CHUNKS = 16, slice(24, 29), 29, 33  # in the file: the first chunk is IHDR, others follow
GREY, COLOUR = bytes((8, 0, 0, 0, 0)), bytes((8, 2, 0, 0, 0))  # depth, kind, compression, filter method, interlacing


def encode_grey(pixels: np.ndarray) -> bytes:  # uint8 (H W)
    """The bytes of a grey PNG with these pixels."""
    height, width = pixels.shape
    rows = np.zeros((height, 1 + width), np.uint8)  # each begins with its filter's number
    rows[:, 1:] = pixels
    header = struct.pack(">II", width, height) + GREY
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.data)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks)


def decode_grey(data: bytes) -> np.ndarray | None:  # -> uint8 (H W)
    """The pixels of a PNG that `encode_grey` made, or None for any other and for a damaged one."""
    size, length = _size(data, GREY), int.from_bytes(data[CHUNKS : CHUNKS + 4])
    if not size or data[CHUNKS + 4 : CHUNKS + 8] != b"IDAT":
        return None
    width, height = size
    inflater, size = zlib_ng.decompressobj(), height * (1 + width)
    try:
        pixels = inflater.decompress(memoryview(data)[CHUNKS + 8 : CHUNKS + 8 + length], size + 1)
    except zlib_ng.error:
        return None
    if not inflater.eof or len(pixels) != size:
        return None
    rows = np.frombuffer(pixels, np.uint8).reshape(height, 1 + width)
    return None if rows[:, 0].any() else rows[:, 1:]


def decode_part(data: bytes, box: tuple[int, int, int, int]) -> np.ndarray | None:  # -> uint8 (H W 3)
    """The pixels in box (left, top, right, bottom) of an RGB PNG.

    None for any other image, and for a damaged one.
    """
    width, height = _size(data, COLOUR) or (0, 0)
    left, top, right, bottom = box
    if right > width or bottom > height:
        return None
    size = bottom * (1 + 3 * width)
    content = _content(data)
    if content is None:
        return None
    try:
        rows = zlib_ng.decompressobj().decompress(content, size)
    except zlib_ng.error:
        return None
    if len(rows) < size:
        return None
    from pack.shards.images.png_rows import unfilter  # numba takes a second to import

    pixels = np.empty((bottom, right, 3), np.uint8)
    known = unfilter(np.frombuffer(rows, np.uint8).reshape(bottom, -1), pixels.reshape(bottom, -1))
    return pixels[top:, left:] if known else None


def _size(data: bytes, kind: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG of this kind; None for any other, for a damaged header, and for a huge image."""
    if data[:8] + data[8:SIZE] + data[FORMAT] != SIGNATURE + HEADER + kind or len(data) < CHUNKS:
        return None
    width, height = struct.unpack_from(">II", data, SIZE)
    if zlib_ng.crc32(data[12:CHECKSUM]) != int.from_bytes(data[CHECKSUM:CHUNKS]):
        return None
    return (width, height) if max(width, height) <= LARGEST_SIDE else None


def _content(data: bytes) -> bytes | None:
    """The contents of all IDAT chunks, together; None where one is damaged."""
    parts, at = [], CHUNKS
    while at + 8 < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if name == b"IDAT":
            if zlib_ng.crc32(memoryview(data)[at + 4 : end]) != int.from_bytes(data[end : end + 4]):
                return None
            parts.append(data[at + 8 : end])
        elif parts:
            break  # the chunks of an image's content are consecutive
        at = end + 4
    return b"".join(parts)


def _chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
