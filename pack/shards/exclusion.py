"""The records of a split that a person has excluded: `excluded.txt` beside its shards, one key a line.

Shards stay as they are; training and evaluation skip these records. Lines that begin with # are comments.
"""

import heapq
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pack.shards.index import Index
from pack.shards.location import Location
from pack.shards.store import read_bytes
from pack.shards.untrusted import check_key
from tools.cli import UserError, plural, quoted
from tools.cli.files import locked_folder, write_file

LIST = "excluded.txt"
LARGEST_LIST = 256 << 20  # bytes
MORE_HOLES = "pack videos with more depth or motion, or pass a larger --divergence-level to pack/main.py"
NEWLINE = re.compile("\r\n?|\n")
SHOWN = 3  # keys of no record that are named; the others are counted


def read_keys(path: Location) -> frozenset[str]:
    """The keys on a list. Raises MissingFile, or UserError when it is not text."""
    return keys_on(read_lines(path))


def keys_on(lines: Iterable[str]) -> frozenset[str]:
    """The keys that these lines of a list name."""
    return frozenset(line for line in map(str.strip, lines) if line and not line.startswith("#"))


def check_list(path: Path) -> None:
    """Raise UserError where a file is no list of keys, so that it must not be changed, or where it cannot be made."""
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}: make it, or name a file in another folder")
    for key in read_keys(path) if path.exists() else ():
        try:
            check_key(key)
        except UserError as error:
            raise UserError(f"{path}: is not a list of records ({error}): name another file") from error


def read_lines(path: Location) -> list[str]:
    """The lines of a list. Raises MissingFile, or UserError when it is not text."""
    try:
        text = read_bytes(path, LARGEST_LIST).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error.reason}), expected one record key a line") from error
    lines = NEWLINE.split(text)  # splitlines would end a comment at a form feed, too
    return lines if lines[-1] else lines[:-1]


def listed_keys(split: Location) -> frozenset[str]:
    """The keys on the split's own list, none where it has no list."""
    try:
        return read_keys(split / LIST)
    except FileNotFoundError:
        return frozenset()


def change_list(path: Path, key: str, excluded: bool) -> None:
    """Add a key to the list or remove it; other lines stay, and of two programs neither undoes the other's change."""
    with locked_folder(path.parent):
        lines = read_lines(path) if path.exists() else []
        kept = [line for line in lines if line.strip() != key]
        if excluded and len(kept) < len(lines):
            return
        write_file(path, as_text([*kept, key] if excluded else kept))


def as_text(lines: Iterable[str]) -> bytes:
    """The content of a file with these lines."""
    return "".join(f"{line}\n" for line in lines).encode()


def leave_out(shard: Index, keys: frozenset[str]) -> Index:
    """The shard without the records of these keys."""
    left_out = {number: entry.key for number, entry in enumerate(shard.records) if entry.key in keys}
    if not left_out:
        return replace(shard, left_out={})
    return replace(shard, records=tuple(e for e in shard.records if e.key not in keys), left_out=left_out)


def left_out_keys(shards: Iterable[Index]) -> frozenset[str]:
    """The keys of the records that were left out of these shards."""
    return frozenset(key for shard in shards for key in shard.left_out.values())


def refuse_empty(split: object, shards: Sequence[Index]) -> None:
    """Raise UserError where the shards of a split hold no record, or only records that were left out."""
    if not any(shard.records for shard in shards):
        only = "only excluded records: include some again, or pack more videos" if left_out_keys(shards) else ""
        raise UserError(f"{split}: its shards hold {only or f'no records: {MORE_HOLES}'}")


def leave_out_listed(
    split: Location, shards: list[Index], others: frozenset[str] = frozenset()
) -> tuple[list[Index], list[str]]:
    """The shards without the records on the split's list and in `others`, and lines that report what was left out."""
    listed = listed_keys(split)
    excluded = listed | others if others else listed  # united once: a list may have millions of keys
    used = [leave_out(shard, excluded) for shard in shards]
    found = left_out_keys(used)
    lines = []
    if found:
        total = plural(sum(len(shard.records) for shard in shards), "record")
        lines.append(f"{split}: {len(found)} of {total} {'is' if len(found) == 1 else 'are'} excluded")
    return used, lines + unknown_keys(split / LIST, listed - found)


def unknown_keys(path: Location, keys: frozenset[str]) -> list[str]:
    """A warning that names keys of a list that no record has, when there are any."""
    if not keys:
        return []
    names = ", ".join(map(quoted, heapq.nsmallest(SHOWN, keys))) + (", ..." if len(keys) > SHOWN else "")
    return [f"warning: {path}: no record has {'this key' if len(keys) == 1 else f'these {len(keys)} keys'}: {names}"]
