"""The layout of a shard's tar: POSIX headers and payloads in blocks of 512 bytes (IEEE 1003.1, ustar)."""

import struct
import tarfile

from pack.shards.untrusted import CorruptRecord

BLOCK = tarfile.BLOCKSIZE  # bytes
END = 2 * BLOCK  # bytes of the empty blocks behind the last member
HEADER = struct.Struct("100s 24x 12s 12x 8x c 100x 6s")  # of a member: name, size, kind and magic
OWNER = "backfill"  # a fixed owner and time: the same records give the same bytes


def padded(size: int) -> int:
    """The bytes that a payload of this size takes in a tar."""
    return -(-size // BLOCK) * BLOCK


def tar_bytes(before: int, members: dict[str, bytes]) -> int:
    """The bytes of a closed tar that held `before` bytes and then gets these members."""
    end = before + sum(BLOCK + padded(len(data)) for data in members.values()) + END
    return -(-end // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def member_info(name: str, size: int) -> tarfile.TarInfo:
    """A tar header in which only name and size differ from one member to the next."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime, info.uname, info.gname = size, 0o444, 0, OWNER, OWNER
    return info


def read_members(data: bytes, expected_key: str) -> dict[str, bytes]:
    """The members of the only record in `data`, as ShardWriter writes it, by extension. Raises CorruptRecord."""
    members, start = {}, 0
    while start < len(data):
        extension, size = read_header(data, start, expected_key)
        if extension in members:
            raise CorruptRecord(f"record {expected_key}: found two members {extension}")
        start += BLOCK
        members[extension] = data[start : start + size]
        start += padded(size)
    if start != len(data):
        raise CorruptRecord(f"record {expected_key}: its range of the tar ends within a member: pack again")
    return members


def read_header(data: bytes, start: int, key: str) -> tuple[str, int]:
    """Extension and payload bytes of the member of record `key` whose header is at `start`. Raises CorruptRecord."""
    try:  # tarfile's reader takes ten times as long
        name, size, kind, magic = HEADER.unpack_from(data, start)
        found, _, extension = name.rstrip(b"\0").decode().partition(".")
        digits = size.rstrip(b"\0 ")
        number = int(digits, 8) if digits.isdigit() else -1
    except (struct.error, ValueError):
        number = -1
    if number < 0 or (kind, magic) != (b"0", b"ustar\0"):
        # the bytes are those of the index, but the index was made for something else
        raise CorruptRecord(f"record {key}: its range of the tar is not as packing writes it: pack again")
    if found != key:
        raise CorruptRecord(f"record {key}: found member {found}.{extension}")
    return extension, number
