"""What Pillow does not do with PNG: write it without filters, read that at once, and decode the part above and left of
a corner alone.

A mask is long runs of few values, which filters break: without them it is smaller, written in half the time and read in
a quarter of the time (PNG specification, sections 9 and 11).
"""

import struct
import zlib

import numpy as np
from zlib_ng import zlib_ng  # inflates several times as fast; zlib deflates, so that no byte depends on the version

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SIZE, FORMAT, CHUNKS = 16, slice(24, 29), 33  # in the file: the first chunk is IHDR, then come the others
GREY, COLOUR = bytes((8, 0, 0, 0, 0)), bytes((8, 2, 0, 0, 0))  # depth, kind, compression, filter method, interlacing


def encode_grey(pixels: np.ndarray) -> bytes:  # uint8 (H W)
    """The bytes of a grey PNG with these pixels."""
    height, width = pixels.shape
    rows = np.zeros((height, 1 + width), np.uint8)  # each begins with its filter's number
    rows[:, 1:] = pixels
    header = struct.pack(">II", width, height) + GREY
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks)


def decode_grey(data: bytes) -> np.ndarray | None:  # -> uint8 (H W)
    """The pixels of a PNG that `encode_grey` made, or None for any other and for what is damaged."""
    width, height, length = (int.from_bytes(data[at : at + 4]) for at in (SIZE, SIZE + 4, CHUNKS))
    if data[:8] + data[FORMAT] + data[CHUNKS + 4 : CHUNKS + 8] != SIGNATURE + GREY + b"IDAT":
        return None
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

    None for any other image, and for what is damaged as far down as the box.
    """
    width, height = struct.unpack(">II", data[SIZE : SIZE + 8]) if len(data) >= CHUNKS else (0, 0)
    left, top, right, bottom = box
    if data[:8] + data[FORMAT] != SIGNATURE + COLOUR or right > width or bottom > height:
        return None
    size = bottom * (1 + 3 * width)
    try:
        rows = zlib_ng.decompressobj().decompress(_content(data), size)
    except zlib_ng.error:
        return None
    if len(rows) < size:
        return None
    from pack.shards.images.png_rows import unfilter  # numba takes a second to import

    pixels = np.empty((bottom, right, 3), np.uint8)
    known = unfilter(np.frombuffer(rows, np.uint8).reshape(bottom, -1), pixels.reshape(bottom, -1))
    return pixels[top:, left:] if known else None


def _content(data):
    """The contents of all IDAT chunks, together."""
    parts, at = [], CHUNKS
    while at + 8 < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"IDAT":
            parts.append(data[at + 8 : at + 8 + length])
        at += 12 + length
    return b"".join(parts)


def _chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
