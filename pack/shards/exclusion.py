"""The records of a split that a person has taken out: `excluded.txt` beside its shards, one key a line.

Shards stay as they are; who trains or measures leaves these records out. Lines that begin with # are for the reader.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pack.shards.shard import Index
from pack.shards.store import Place, read_bytes
from tools.cli import UserError
from tools.cli.files import write_file

LIST = "excluded.txt"
SHOWN = 3  # keys of no record that are named; the others are counted


def read_keys(path: Place) -> frozenset[str]:
    """The keys on a list. Raises MissingFile, or UserError when it is no text."""
    return frozenset(line for line in map(str.strip, read_lines(path)) if line and not line.startswith("#"))


def read_lines(path: Place) -> list[str]:
    try:
        return read_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no UTF-8 text ({error.reason}), expected one record key a line") from error


def listed_keys(split: Place) -> frozenset[str]:
    """The keys on the split's own list, none where it has no list."""
    try:
        return read_keys(split / LIST)
    except FileNotFoundError:
        return frozenset()


def change_list(path: Path, key: str, excluded: bool) -> None:
    """Put a key on the list or take it off; what else the file says stays. It appears whole. Raises OSError."""
    with locked(path.parent):
        lines = read_lines(path) if path.exists() else []
        kept = [line for line in lines if line.strip() != key]
        if excluded and len(kept) < len(lines):
            return
        write_file(path, as_text([*kept, key] if excluded else kept))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One thread of this machine at a time, so that two pages or tabs on one split lose no entry of each other's."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def as_text(lines: Iterable[str]) -> bytes:
    """What a file with these lines holds."""
    return "".join(f"{line}\n" for line in lines).encode()


def leave_out(shard: Index, keys: frozenset[str]) -> Index:
    """The shard without the records of these keys."""
    left_out = {place: entry.key for place, entry in enumerate(shard.records) if entry.key in keys}
    return replace(shard, records=tuple(e for e in shard.records if e.key not in keys), left_out=left_out)


def left_out_keys(shards: Iterable[Index]) -> frozenset[str]:
    """The keys of the records that were left out of these shards."""
    return frozenset(key for shard in shards for key in shard.left_out.values())


def leave_out_listed(
    split: Place, shards: list[Index], others: frozenset[str] = frozenset()
) -> tuple[list[Index], list[str]]:
    """The shards without the records on the split's list and those in `others`, and in words what was left out."""
    listed = listed_keys(split)
    used = [leave_out(shard, listed | others) for shard in shards]
    found = left_out_keys(used)
    lines = []
    if found:
        lines.append(f"{split}: {len(found)} of {sum(len(shard.records) for shard in shards)} records are excluded")
    return used, lines + unknown_keys(split / LIST, listed - found)


def unknown_keys(path: Place, keys: frozenset[str]) -> list[str]:
    """A line that says which keys of a list no record has, when there are any."""
    if not keys:
        return []
    names = ", ".join(sorted(keys)[:SHOWN]) + (", ..." if len(keys) > SHOWN else "")
    return [f"warning: {path}: no record has {'this key' if len(keys) == 1 else f'these {len(keys)} keys'}: {names}"]
