"""Finds boxes of an MP4 or MOV file (ISO/IEC 14496-12) and says in them which eye a stereo film shows where.

References: Spherical Video V2 (st3d); Apple, ISO Base Media File Format and Apple HEVC Stereo Video (vexu).
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tools.cli.files import naming

CONTAINERS = ("moov", "trak", "mdia", "minf", "stbl", "stsd")
HEADERS = {"stsd": 8, "avc1": 78, "hvc1": 78, "hev1": 78}  # bytes of a box's own before the boxes in it
PACKINGS = {"left_right": b"side", "right_left": b"side", "top_bottom": b"over", "bottom_top": b"over"}
RIGHT_LEFT = 4  # of st3d, a later value that FFmpeg does not write


def state_packing(path: Path, mode: str) -> None:
    """Complete what FFmpeg writes of a stereo mode (in its words): vexu lacks the packing, st3d the order right_left.

    The movie header must be the last box, as FFmpeg leaves it.
    """
    if mode not in PACKINGS:
        return
    box = struct.pack(">I4sI4sI4s", 24, b"pack", 16, b"pkin", 0, PACKINGS[mode])
    with naming(path), open(path, "r+b") as file:
        _insert(file, "vexu", box, inside=True)
        if mode == "right_left" and path.suffix.lower() != ".mov":
            _insert(file, "vexu", struct.pack(">I4sIB", 13, b"st3d", 0, RIGHT_LEFT))


def _insert(file: BinaryIO, kind: str, content: bytes, inside: bool = False) -> None:
    """Insert boxes before the first box of this kind, or at its end."""
    place, size, parents = next(_find(file, kind, 0, os.fstat(file.fileno()).st_size))
    for parent in (*parents, place) if inside else parents:
        file.seek(parent)
        before = int.from_bytes(file.read(4))
        file.seek(parent)
        file.write((before + len(content)).to_bytes(4))
    file.seek(place + size if inside else place)
    rest = file.read()
    file.seek(-len(rest), os.SEEK_END)
    file.write(content + rest)


def _find(
    file: BinaryIO, kind: str, start: int, end: int, parents: tuple[int, ...] = ()
) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Where each box of this kind begins, its size, and where the boxes around it begin."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        size, name, header = int.from_bytes(head[:4]), head[4:8].decode("latin-1"), 8
        if size == 1:  # 64 bits
            size, header = int.from_bytes(head[8:]), 16
        if size < header:
            return  # 0: up to the end of the file
        if name == kind:
            yield start, size, parents
        elif name in CONTAINERS or name in HEADERS:
            inner = start + header + HEADERS.get(name, 0)
            yield from _find(file, kind, inner, start + size, (*parents, start))
        start += size
