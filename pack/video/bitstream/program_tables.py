"""The tables of MPEG-TS: which streams a recording has, and where its picture becomes another one.

Reference: ISO/IEC 13818-1, 2.4.4.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

PACKET = 188  # bytes
VIDEO = {1: "MPEG-1", 2: "MPEG-2", 16: "MPEG-4", 27: "H.264", 36: "HEVC", 51: "VVC", 66: "AVS", 0xEA: "VC-1"}
SOUND = {3: "MPEG audio", 4: "MPEG audio", 15: "AAC", 17: "AAC", 0x81: "AC-3", 0x82: "DTS", 0x87: "E-AC-3"}
TOGETHER = 16  # packets within which the tables of a recording stand together
PRIVATE = 6  # type of streams that their descriptors tell apart
SOUND_TAGS = (0x6A, 0x7A, 0x7B, 0x7C)
TELLING = (0x05, 0x56, 0x59, 0x6A, 0x7A, 0x7B, 0x7C, 0x7F)  # tags of descriptors that tell private streams apart


@dataclass(frozen=True)
class Kind:
    """What a table says of a stream."""

    type: int
    telling: tuple[bytes, ...] = ()  # descriptors that tell private streams apart

    @property
    def is_sound(self) -> bool:
        """Whether the table says that it is sound."""
        return self.type in SOUND or any(row[0] in SOUND_TAGS for row in self.telling)

    def __str__(self) -> str:
        return (VIDEO | SOUND).get(self.type, f"type {self.type}")


@dataclass(frozen=True)
class Change:
    """Where a recording's picture becomes another stream."""

    place: int  # byte
    restart: int  # byte of the table from which on the other one is read, at `place` or before it
    before: Kind
    after: Kind

    def __str__(self) -> str:
        if self.before == self.after:
            return f"another {self.after} stream"
        return f"{self.after} instead of {self.before}"


@dataclass
class Tables:
    """The tables of a recording, packet by packet."""

    maps: dict[int, dict[int, Kind]] = field(default_factory=dict)  # by identifier of the map: streams by theirs
    first: dict[int, Kind] = field(default_factory=dict)  # the streams of the map that has the picture
    picture: int | None = None  # identifier of the picture; None: unknown, or there are several
    home: int | None = None  # identifier of the picture's map
    current: set[int] = field(default_factory=set)  # maps that the last program association table lists
    listed: int = 0  # where that table is
    sections: dict[int, bytes] = field(default_factory=dict)  # those that are not complete
    # streams by their identifiers, where they change, and to what: those of the first map, and others
    changed: dict[int, tuple[int, Kind]] = field(default_factory=dict)
    added: dict[int, tuple[int, Kind]] = field(default_factory=dict)
    begin: int = 0  # byte from which on the recording is read

    def add(self, packet: bytes, place: int) -> Change | None:
        """Read a packet of 188 bytes at this place of the file; a change of the picture, if it shows one."""
        identifier = int.from_bytes(packet[1:3]) & 0x1FFF
        section = self._section(identifier, packet)
        if section is None or _crc(section):
            return None
        if identifier == 0 and section[0] == 0:
            rows = [section[at : at + 4] for at in range(8, len(section) - 4, 4)]
            self.listed = place
            self.current = {int.from_bytes(row[2:]) & 0x1FFF for row in rows if row[:2] != b"\0\0"}
        elif section[0] == 2 and identifier in self.current:
            return self._read_map(identifier, _streams(section), place)
        return None

    def choose(self) -> None:
        """Take the picture of the maps so far for that of the film, if there is one alone."""
        streams = [(home, one, kind) for home in self.current for one, kind in self.maps.get(home, {}).items()]
        found = [(home, one) for home, one, kind in streams if kind.type in VIDEO]
        if len(found) == 1:
            self.home, self.picture = found[0]
            self.first = self.maps[found[0][0]]

    def of_other_programs(self, picture: int) -> set[int]:
        """The streams that belong to other programs alone than those which have this picture."""
        programs = [set(streams) for streams in self.maps.values()]
        own = set().union(*(streams for streams in programs if picture in streams))
        return set().union(*programs) - own if own else set()

    def _section(self, identifier: int, packet: bytes) -> bytes | None:
        """The section that the packet completes."""
        at = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
        if not packet[3] & 0x10 or at >= PACKET:
            return None
        if packet[1] & 0x40:  # a section begins behind the pointer
            data = packet[at + 1 + packet[at] :]
        elif identifier in self.sections:
            data = self.sections.pop(identifier) + packet[at:]
        else:
            return None
        size = 3 + (int.from_bytes(data[1:3]) & 0xFFF) if len(data) > 2 else 1024
        if len(data) >= size:
            return data[:size] if size >= 12 else None
        self.sections[identifier] = data
        return None

    def _read_map(self, home: int, streams: dict[int, Kind], place: int) -> Change | None:
        self.maps.setdefault(home, streams)
        if self.picture is None or (home != self.home and self.home in self.current):
            return None
        before, after = self.first[self.picture], streams.get(self.picture)
        if after != before:
            restart = self.listed if self.listed > self.begin else place  # a film is not read from its begin again
            pictures = [kind for kind in streams.values() if kind.type in VIDEO]
            if pictures:  # else it pauses
                return Change(restart if place - restart < TOGETHER * PACKET else place, restart, before, pictures[0])
        else:
            self.listed = self.begin  # a film that is read from there would begin with this map
        for one, kind in streams.items():
            if kind != self.first.get(one):
                (self.changed if one in self.first else self.added).setdefault(one, (place, kind))
        return None


def _streams(section: bytes) -> dict[int, Kind]:
    at, end, found = 12 + (int.from_bytes(section[10:12]) & 0xFFF), len(section) - 4, {}
    while at + 5 <= end:
        size = int.from_bytes(section[at + 3 : at + 5]) & 0xFFF
        kind, telling = section[at], ()
        if kind == PRIVATE:
            telling = tuple(_telling(section[at + 5 : at + 5 + size]))
        found[int.from_bytes(section[at + 1 : at + 3]) & 0x1FFF] = Kind(kind, telling)
        at += 5 + size
    return found


def _telling(descriptors: bytes) -> Iterator[bytes]:
    at = 0
    while at + 2 <= len(descriptors):
        size = descriptors[at + 1]
        if descriptors[at] in TELLING:
            yield descriptors[at : at + 1] + (descriptors[at + 2 : at + 6] if descriptors[at] == TELLING[0] else b"")
        at += 2 + size


@lru_cache(1024)  # tables repeat all the time
def _crc(section: bytes) -> int:
    """The CRC-32 of MPEG over a section with its own: 0 where it is whole."""
    crc = 0xFFFFFFFF
    for byte in section:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc
