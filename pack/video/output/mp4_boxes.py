"""Finds boxes of an MP4 file (ISO/IEC 14496-12) and takes them out of sight."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

CONTAINERS = ("moov", "trak", "mdia", "minf", "stbl", "stsd")
HEADERS = {"stsd": 8, "avc1": 78, "hvc1": 78, "hev1": 78}  # bytes of a box's own before the boxes in it


def hide(path: Path, kind: str) -> int:
    """Rename the boxes of this kind in the sample entries of video to `free`, which players skip; how many there were.

    No byte is moved, so no offset changes.
    """
    with open(path, "r+b") as file:
        found = list(_find(file, kind, 0, os.fstat(file.fileno()).st_size))
        for place in found:
            file.seek(place + 4)
            file.write(b"free")
    return len(found)


def _find(file: BinaryIO, kind: str, start: int, end: int) -> Iterator[int]:
    """Where the boxes of this kind begin."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        size, name, header = int.from_bytes(head[:4]), head[4:8].decode("latin-1"), 8
        if size == 1:  # 64 bits
            size, header = int.from_bytes(head[8:]), 16
        if size < header:
            return  # 0: up to the end of the file
        if name == kind:
            yield start
        elif name in CONTAINERS or name in HEADERS:
            yield from _find(file, kind, start + header + HEADERS.get(name, 0), start + size)
        start += size
