"""Checks on what others wrote: record keys, file names of a listing, and JSON.

Shards are copied from strangers, so everything in them is checked before it becomes a path, an array size or a line on
a screen. docs/security.md lists all checks.
"""

import json
import math
from typing import Any

from tools.cli import UserError, quoted

LONGEST_KEY = 100 - len(".000_C.webp")  # bytes: a name in a tar has 100
LARGEST_JSON = 1 << 20  # bytes of a record's JSON
BYTES_OF_VALUE = 16  # of JSON text, on average: those of an index have more
DEEPEST_JSON = 32  # objects and lists within each other


class CorruptRecord(UserError):
    """A record's bytes differ from its index, or are not those of a record."""


def check_key(key: Any) -> None:
    """Raise UserError where `key` cannot be a record's key: part of a tar member's name, a folder, a line of text."""
    if type(key) is not str or not key:
        raise UserError(f"found the key {quoted(key)}, expected text")
    if any(char in "./\\" or not char.isprintable() for char in key) or key[0] in "# " or key[-1] == " ":
        raise UserError(f"the key {quoted(key)} has a dot, a slash, a control character, or # or spaces at its ends")
    if len(key.encode()) > LONGEST_KEY:
        raise UserError(f"the key {quoted(key)} has {len(key.encode())} bytes, expected {LONGEST_KEY} or fewer")


def check_relative(name: str, is_folder: bool = False) -> None:
    """Raise UserError where the name of a listed file would lead out of the folder that gets it.

    With `is_folder` the files are those of one folder, whose names have no slash.
    """
    forbidden = "/\\" if is_folder else "\\"
    parts = name.split("/")
    if any(part in ("", ".", "..") or not part.isprintable() for part in parts) or set(name) & set(forbidden):
        raise UserError(f"found an object called {quoted(name)}, which cannot be a file name: rename or remove it")


def parse_object(data: bytes, largest: int = LARGEST_JSON) -> dict[str, Any]:
    """The JSON object in `data`. Raises UserError where it is another value, too large or not finite.

    Of the smallest values Python makes 30 times the bytes of their text, so their number is bounded too.

    Its depth is bounded by the parser alone: see `check_depth`.
    """
    if len(data) > largest:
        raise UserError(f"has more than {largest} bytes")
    if sum(map(data.count, (b",", b"[", b"{"))) > largest // BYTES_OF_VALUE:
        raise UserError(f"has more than {largest // BYTES_OF_VALUE} values")
    try:
        value = json.loads(data, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:  # undecodable text and numbers of too many digits too
        raise UserError(f"cannot be read as JSON ({error or type(error).__name__})") from error
    if not isinstance(value, dict):
        raise UserError("cannot be read as a JSON object")
    return value


def check_depth(value: Any) -> None:
    """Raise UserError where a JSON value has lists or objects deeper within each other than DEEPEST_JSON."""
    level = [value]
    for _ in range(DEEPEST_JSON):
        inner = [part for part in level if isinstance(part, (dict, list))]
        level = [value for part in inner for value in (part.values() if isinstance(part, dict) else part)]
        if not level:
            return
    raise UserError(f"cannot be read as JSON (it is nested deeper than {DEEPEST_JSON} levels)")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{quoted(text)} is too large a number")
    return value
