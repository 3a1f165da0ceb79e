"""Reads a recording in MPEG-TS up to where its picture becomes another stream, as where two recordings were joined.

FFmpeg gives what follows to the decoder of the first stream, or to none, so each part is read as a file of its own.
Reference: ISO/IEC 13818-1, 2.4.3 (packets).
"""

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from pack.video.bitstream.continuity import Continuity
from pack.video.bitstream.program_tables import PACKET, TOGETHER, Change, Tables

SYNC = 0x47
STRIDES = {188: 0, 192: 4, 204: 0}  # bytes from packet to packet, and those before each one's sync byte
HEAD = 5_000_000  # bytes in which the first tables are, as for FFmpeg
SAMPLE, SAMPLES = 2**21, 32  # bytes that hold a table even in Blu-ray, and at how many places they are looked at


class Scanner:
    """Finds the tables in a file's bytes, block by block."""

    def __init__(self, stride: int, tables: Tables, picture: Continuity | None = None):
        self.stride, self.tables, self.picture = stride, tables, picture
        self.rest, self.place = b"", 0  # bytes of a packet that is not complete, and where they begin
        self.last = (-1, -1)  # identifier and place of the last packet

    def seek(self, place: int) -> None:
        """Continue with the block at this place."""
        self.rest, self.place = b"", place

    @property
    def end(self) -> int:
        """Where the next block begins."""
        return self.place + len(self.rest)

    def feed(self, data: bytes) -> Change | None:
        """Read the next block; the first change of the picture in it."""
        data = self.rest + data
        skip = STRIDES[self.stride]
        at = 0
        while len(data) - at >= self.stride:
            count = (len(data) - at) // self.stride
            rows = np.frombuffer(data, np.uint8, count * self.stride, at).reshape(count, self.stride)[:, skip:]
            good = int(np.argmax(rows[:, 0] != SYNC)) if (rows[:, 0] != SYNC).any() else count
            change = self._read(rows[:good], self.place + at)
            if change:
                return change
            at += good * self.stride
            if good < count:  # bytes are missing or too many here
                if self.picture is not None and self.last == (self.picture.identifier, self.place + at - self.stride):
                    self.picture.doubt(self.last[1])
                at = self._next(data, at + 1)
        self.rest, self.place = data[at:], self.place + at
        return None

    def _next(self, data: bytes, at: int) -> int:
        """Where three packets in a row begin."""
        skip = STRIDES[self.stride]
        while len(data) - at - skip > 2 * self.stride:
            at = data.find(b"\x47", at + skip) - skip
            if at < 0:
                break
            if data[at + skip :: self.stride][:3] == b"\x47\x47\x47":
                return at
            at += 1
        return max(len(data) - 3 * self.stride, at, 0) if at >= 0 else len(data)

    def _read(self, rows: np.ndarray, place: int) -> Change | None:  # (packets, bytes)
        numbers = (rows[:, 1].astype(np.int32) & 0x1F) << 8 | rows[:, 2]
        if len(rows):
            self.last = int(numbers[-1]), place + (len(rows) - 1) * self.stride
        if self.picture is not None:
            found = np.flatnonzero(numbers == self.picture.identifier)
            self.picture.add(rows[found, :PACKET], place + found * self.stride)
        start = 0
        while start < len(rows):
            listed = [0, *self.tables.current]
            for number in start + np.flatnonzero(np.isin(numbers[start:], listed)):
                start = int(number) + 1
                change = self.tables.add(rows[number, :PACKET].tobytes(), place + int(number) * self.stride)
                if change:
                    return change
                if not self.tables.current <= {*listed}:  # their maps may be in this block
                    break
            else:
                return None
        return None


class Recording(io.RawIOBase):
    """A recording from byte `start` on as a file for FFmpeg, which ends where its picture becomes another stream.

    Places are those of the whole file, those that FFmpeg knows count from `start`.
    """

    def __init__(self, path: str | Path, stride: int, start: int = 0):
        super().__init__()
        self.name, self.start = str(path), start
        self.file = open(path, "rb", buffering=0)  # closed with this file
        self.size = os.fstat(self.file.fileno()).st_size
        self.tables = first_tables(self.file, stride, start)
        listed = self.tables.picture
        self.continuity = None if listed is None else Continuity(listed)
        self.scanner = Scanner(stride, self.tables, self.continuity)
        self.scanner.seek(start)
        self.change = find_change(self.file, self.size, stride, self.tables)
        self.file.seek(start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes up to the change of the picture; what is read in order is looked through for one."""
        place = self.file.tell()
        left = max(self.end - place, 0)
        data = self.file.read(left if size < 0 else min(size, left))
        known = self.scanner.end
        if place <= known < place + len(data):
            self.change = self.scanner.feed(data[known - place :]) or self.change
        return data[: max(self.end - place, 0)]

    @property
    def end(self) -> int:
        """Where this part of the film ends."""
        return self.change.place if self.change else self.size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            return self.file.seek(max(self.end + offset, self.start)) - self.start
        return self.file.seek(offset + (0 if whence == os.SEEK_CUR else self.start), whence) - self.start

    def tell(self) -> int:
        return self.file.tell() - self.start

    def close(self) -> None:
        self.file.close()
        super().close()


def stride_of(path: str | Path) -> int | None:
    """Bytes from packet to packet, None where the file is no recording that begins with a packet."""
    with open(path, "rb") as file:
        head = file.read(5 * 204)
    return next((s for s, skip in STRIDES.items() if head[skip::s][:5] == bytes([SYNC] * 5)), None)


def first_tables(file: io.RawIOBase, stride: int, start: int = 0) -> Tables:
    """The tables from byte `start` on, with the picture that they list."""
    tables = Tables(begin=start)
    scanner = Scanner(stride, tables)
    scanner.seek(start)
    file.seek(start)
    while scanner.end < start + HEAD and (data := file.read(TOGETHER * stride)):
        scanner.feed(data)
        if tables.current and tables.current <= tables.maps.keys():
            break
    tables.choose()
    return tables


def find_change(file: io.RawIOBase, size: int, stride: int, tables: Tables) -> Change | None:
    """A change of the picture, found in samples of a large file; what lies between them is seen when it is read."""
    if tables.picture is None:
        return None
    begin = tables.begin

    def change_at(place: int) -> Change | None:
        known = replace(tables, maps=dict(tables.maps), current=set(), listed=begin, sections={}, changed={}, added={})
        scanner = Scanner(stride, known)
        scanner.seek(place)
        file.seek(place)
        return scanner.feed(file.read(SAMPLE) or b"")

    step = max((size - begin) // SAMPLES, SAMPLE) // stride * stride
    for start in range(begin, size, step):
        if change := change_at(start):
            low = max(start - step, begin)
            while start - low > SAMPLE:
                middle = low + (start - low) // 2 // stride * stride
                found = change_at(middle)
                low, start, change = (low, middle, found) if found else (middle, start, change)
            return change_at(low) or change
    return None
