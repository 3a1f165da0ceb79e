"""Edit lists of MP4 (ISO/IEC 14496-12, 8.6.6), written by hand."""

import struct
from pathlib import Path


def boxes(data):
    """(type, content) of each box."""
    at = 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : at + size]
        at += size


def box(kind, content):
    return struct.pack(">I4s", 8 + len(content), kind) + content


def edited(source: Path, out: Path, parts: list[tuple[float, float]]) -> Path:
    """An MP4 that ends with its moov, of which only these parts (seconds from, to) are shown."""
    data = source.read_bytes()
    at = data.rindex(b"moov") - 4
    content = data[at + 8 :]
    scale = struct.unpack_from(">I", dict(boxes(content))[b"mvhd"], 12)[0]
    moov = b"".join(
        box(kind, _with_parts(inner, scale, parts) if kind == b"trak" else inner) for kind, inner in boxes(content)
    )
    out.write_bytes(data[:at] + box(b"moov", moov))
    return out


def _with_parts(trak, scale, parts):
    clock = struct.unpack_from(">I", dict(boxes(dict(boxes(trak))[b"mdia"]))[b"mdhd"], 12)[0]
    before = dict(boxes(dict(boxes(trak))[b"edts"]))[b"elst"]
    start = struct.unpack_from(">i", before, 8 + 12 * (struct.unpack_from(">I", before, 4)[0] - 1) + 4)[0]
    edits = [(round((end - begin) * scale), start + round(begin * clock), 1 << 16) for begin, end in parts]
    elst = struct.pack(">II", 0, len(edits)) + b"".join(struct.pack(">IiI", *edit) for edit in edits)
    return b"".join(box(kind, box(b"elst", elst) if kind == b"edts" else inner) for kind, inner in boxes(trak))
