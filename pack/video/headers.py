"""What the headers of MP4, MOV and Matroska say and PyAV does not pass on: cropping and Dolby Vision.

Damaged headers say nothing. References: ISO 14496-12 (clap), Dolby Vision Streams Within the ISO Base Media File Format
(dvcC, dvvC), RFC 9559 (Matroska).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av

from pack.video.bars import NO_BARS, Bars
from tools.cli import UserError

DOLBY_VISION = {b"dvcC", b"dvvC", b"dvwC"}
CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}
SEGMENT, TRACKS, TRACK, CLUSTER, VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0x1F43B675, 0xE0
NUMBER_TYPE, ADDITION, ADDITION_TYPE, ADDITION_DATA = 0x83, 0x41E4, 0x41E7, 0x41ED
CROPS = {0x54BB: "top", 0x54AA: "bottom", 0x54CC: "left", 0x54DD: "right"}
# Cluster, Cues, Tags, SeekHead, Attachments, Chapters, and what a block is accompanied by
BETWEEN_BLOCKS = [bytes.fromhex(kind) for kind in "1f43b675 1c53bb6b 1254c367 114d9b74 1941a469 1043a770 75a1".split()]
NEAR = 64  # bytes that headers of blocks take
LONGEST = 4096  # bytes that are read of a box or an element, whose size may be anything
MOST = 100_000  # boxes or elements of one level
ENTRY = 78  # bytes of a visual sample entry before its boxes


@dataclass(frozen=True)
class Header:
    """The header of one video track."""

    crop: Bars = NO_BARS  # of the decoded frame, before it is turned
    profile: int = 0  # of Dolby Vision; 0: none
    compatibility: int = 0  # what a player without Dolby Vision sees: 0 nothing, 1 HDR10, 2 SDR, 4 HLG


def read_header(path: str | Path, container: av.container.InputContainer, stream: av.VideoStream) -> Header:
    """The header of a stream; an empty one for other containers.

    Raises UserError for Dolby Vision whose base layer no other decoder can show.
    """
    names, header = container.format.name.split(","), Header()
    if "mp4" in names or "matroska" in names:
        place = sum(other.index < stream.index for other in container.streams.video)
        with open(path, "rb") as file:
            header = parse_header(file, stream.id if "mp4" in names else None, place)
    if header.profile in (5, 10, 20) and header.compatibility == 0:
        raise unusual_colours(path, header.profile)
    return header


def parse_header(file: BinaryIO, track: int | None, place: int) -> Header:
    """The header of the video track of this number in an MP4, or without one at this place in a Matroska file."""
    end = file.seek(0, 2)
    try:
        return _matroska(file, end, place) if track is None else _mp4(file, end, track)
    except (struct.error, ValueError, IndexError, ZeroDivisionError, StopIteration, RecursionError):
        return Header()  # damaged


def unusual_colours(path: str | Path, profile: int) -> UserError:
    """The error for Dolby Vision whose base layer no other decoder can show."""
    return UserError(
        f"{path} is Dolby Vision of profile {profile}, whose colours (IPTPQc2) only Dolby's decoders show: "
        f"use a version in HDR10, HLG or SDR"
    )


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, first byte of the content, end) of the boxes in a range."""
    for _ in range(MOST):
        if start + 8 > end:
            return
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        content = start + 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            content += 8
        stop = end if size == 0 else start + size
        if stop < content or stop > end:
            return
        yield kind, content, stop
        start = stop


def _read(file, start, end):
    file.seek(start)
    return file.read(min(end - start, LONGEST))


def _mp4(file: BinaryIO, end: int, track: int) -> Header:
    for kind, start, stop in _boxes(file, 0, end):
        if kind == b"moov":
            for kind, first, last in _boxes(file, start, stop):
                found = {name: (a, b) for name, a, b in _deep(file, first, last)} if kind == b"trak" else {}
                if b"tkhd" in found and b"stsd" in found and _track_id(_read(file, *found[b"tkhd"])) == track:
                    return _sample_entry(file, *found[b"stsd"])
    return Header()


def _deep(file, start, end):
    for kind, first, last in _boxes(file, start, end):
        yield kind, first, last
        if kind in CONTAINERS:
            yield from _deep(file, first, last)


def _track_id(tkhd):
    return struct.unpack_from(">I", tkhd, 20 if tkhd[0] == 1 else 12)[0]


def _sample_entry(file, start, end):
    _, first, last = next(_boxes(file, start + 8, end))
    width, height = struct.unpack_from(">HH", _read(file, first, last), 24)
    crop, profile, compatibility = NO_BARS, 0, 0
    for kind, a, b in _boxes(file, first + ENTRY, last):
        if kind == b"clap":
            crop = clean_aperture(struct.unpack(">8i", _read(file, a, b)[:32]), width, height)
        elif kind in DOLBY_VISION:
            profile, compatibility = dolby_vision(_read(file, a, b))
    return Header(crop, profile, compatibility)


def clean_aperture(values: tuple[int, ...], width: int, height: int) -> Bars:
    """What a clap box crops, in whole pixels: width, height and the offsets of the centre, each as a fraction."""
    wide, high, right, down = (Fraction(values[n], values[n + 1]) for n in range(0, 8, 2))
    left = (width - wide) / 2 + right
    top = (height - high) / 2 + down
    sides = [int(side) for side in (top, height - high - top, left, width - wide - left)]
    return Bars(*sides) if min(sides) >= 0 and high >= 1 and wide >= 1 else NO_BARS


def dolby_vision(record: bytes) -> tuple[int, int]:
    """Profile and base layer's compatibility of a configuration record."""
    return record[2] >> 1, record[4] >> 4


def _elements(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(identifier, first byte of the content, end) of the EBML elements in a range."""
    for _ in range(MOST):
        if start >= end:
            return
        file.seek(start)
        head = file.read(12)
        length = 9 - head[0].bit_length()
        kind = int.from_bytes(head[:length])
        width = 9 - head[length].bit_length()
        size = int.from_bytes(head[length : length + width]) & ((1 << 7 * width) - 1)
        content = start + length + width
        stop = end if size == (1 << 7 * width) - 1 else content + size
        if length > 4 or width > 8 or stop > end:
            return
        yield kind, content, stop
        start = stop


def _matroska(file: BinaryIO, end: int, place: int) -> Header:
    """The header of the video track at this place among all video tracks."""
    for kind, start, stop in _elements(file, 0, end):
        if kind != SEGMENT:
            continue
        for kind, first, last in _elements(file, start, stop):
            if kind == CLUSTER:
                break
            if kind == TRACKS:
                tracks = [_track(file, a, b) for kind, a, b in _elements(file, first, last) if kind == TRACK]
                return [header for header in tracks if header is not None][place]
    return Header()


def _track(file, start, end):
    """The header of a track, None where it is no video."""
    sides, profile, compatibility, is_video = {}, 0, 0, False
    for kind, first, last in _elements(file, start, end):
        if kind == NUMBER_TYPE:
            is_video = _read(file, first, last) == b"\x01"
        elif kind == VIDEO:
            for name, a, b in _elements(file, first, last):
                if name in CROPS:
                    sides[CROPS[name]] = int.from_bytes(_read(file, a, b))
        elif kind == ADDITION:
            parts = {name: _read(file, a, b) for name, a, b in _elements(file, first, last)}
            if parts.get(ADDITION_TYPE, b"").rjust(4, b"\0")[-4:] in DOLBY_VISION:
                profile, compatibility = dolby_vision(parts.get(ADDITION_DATA, bytes(5)))
    return Header(Bars(**sides), profile, compatibility) if is_video else None


def goes_on(path: str | Path, end: int) -> bool:
    """Whether a Matroska file ends about here, where a packet does, or another element than a block begins."""
    with open(path, "rb") as file:
        file.seek(max(0, end - NEAR))
        around = file.read(2 * NEAR)
    return len(around) < 2 * NEAR or any(kind in around for kind in BETWEEN_BLOCKS)
