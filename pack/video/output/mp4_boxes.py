"""Finds boxes of an MP4 or MOV file (ISO/IEC 14496-12) and says in them where an eye is, and what is spoken.

References: Spherical Video V2 (st3d); Apple, ISO Base Media File Format and Apple HEVC Stereo Video (vexu).
"""

import os
import struct
from collections.abc import Iterator, Sequence
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


def state_languages(path: Path, languages: Sequence[str]) -> None:
    """Give the tracks of a MOV their languages in the letters of ISO 639-2 (QuickTime File Format, Language Codes).

    FFmpeg writes codes of the Macintosh, and none for most languages.
    """
    with naming(path), open(path, "r+b") as file:
        boxes = list(_find(file, "mdhd", 0, os.fstat(file.fileno()).st_size))
        for (place, _, _), language in zip(boxes, languages, strict=False):  # chapters have a track of their own
            if len(language) == 3 and language.isascii() and language.isalpha() and language != "und":
                file.seek(place + 8)
                file.seek(place + (40 if file.read(1) == b"\1" else 28))
                first, second, third = (ord(letter) - 0x60 for letter in language.lower())
                file.write((first << 10 | second << 5 | third).to_bytes(2))


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
