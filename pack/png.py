"""The upper part of a PNG as a PNG of its own, for what lies below is decoded for nothing."""

import zlib

HEIGHT, INTERLACE, CHUNKS = slice(20, 24), 28, 33  # in the file: the first chunk is IHDR, then come the others


def top_of(data: bytes, box: tuple[int, int, int, int]) -> tuple[bytes, tuple[int, int]] | None:
    """A PNG of the rows down to the end of box (left, top, right, bottom), and the place (left, top) of its corner.

    None where that cannot be done: if it is no PNG, interlaced, or has no more rows.
    """
    if data[1:4] != b"PNG" or data[INTERLACE] or not box[3] < int.from_bytes(data[HEIGHT]):
        return None
    header = data[12:20] + box[3].to_bytes(4) + data[24:29]
    return data[:12] + header + zlib.crc32(header).to_bytes(4) + data[CHUNKS:], (0, 0)
