"""Configurations as TOML files: what `--config` reads and `--print-config` prints."""

import json
import tomllib
from typing import Any

from tools.cli.errors import UserError, redact
from tools.cli.files import read_small
from tools.cli.flags.fields import Flag, is_moderate, read_flags, summary
from tools.cli.flags.words import suggestion
from tools.cli.output import CONTROLS

MANY = {bool: "booleans", int: "whole numbers", float: "numbers", str: "texts in quotes"}


def read_config(path: str, flags: list[Flag]) -> dict[str, Any]:
    """The values in a TOML file by field. Its keys are the flags, with hyphens or underscores, or their long aliases.

    Raises UserError with the file and the key when the file is missing or not TOML, when a key is unknown or given
    twice, and when a value has another type than its flag.
    """
    return read_table(read_toml(path, "--config"), path, flags)


def read_toml(path: str, flag: str) -> dict[str, Any]:
    """The table in a TOML file that this flag names. Raises UserError when it is missing or not TOML."""
    try:
        return tomllib.loads(read_small(path).decode("utf-8-sig"))
    except UserError:
        raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(f"{flag} {path} cannot be read ({reason}), expected a TOML file: check the path") from error
    except (ValueError, RecursionError) as error:  # int and datetime raise ValueErrors that are no TOMLDecodeError
        raise UserError(f"{path} is not valid TOML ({error}): fix it") from error


def read_table(table: dict[str, Any], path: str, flags: list[Flag]) -> dict[str, Any]:
    """The values of a TOML table by field; `path` is named in errors. Raises UserError, see `read_config`."""
    keys = {name.removeprefix("--"): flag for flag in flags for name in flag.names if name.startswith("--")}
    values: dict[str, Any] = {}
    for key, value in table.items():
        flag = keys.get(key.replace("_", "-"))
        if flag is None:
            raise UserError(f"{path}: unknown key {key}{suggestion(key.replace('_', '-'), keys)}")
        if flag.field in values:
            raise UserError(f"{path}: {key} is given twice, as {flag.name[2:]} or under another name: keep one")
        values[flag.field] = _typed(f"{path}: {key} = {_toml(value)}", value, flag)
    return values


def config_text(config: Any) -> str:
    """The values of a configuration as TOML, one flag a line with its comment, which `read_config` reads back.

    Fields that are None are left out. Raises UserError for a text that is not UTF-8, which TOML cannot hold, and for a
    URL with a password, which would be kept in files.
    """
    flags = read_flags(type(config))
    return f"# {summary(type(config))}\n" + "".join(_line(flag, getattr(config, flag.field)) for flag in flags)


def _line(flag: Flag, value: Any) -> str:
    if value is None:
        return ""
    try:
        text = _toml(value)
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{flag.name} {value!r} is not UTF-8 and cannot be written as TOML: rename it") from None
    if redact(text) != text:
        raise UserError(f"{flag.name} is a URL with a user, a password or a query: expected one without")
    return f"{flag.name[2:]} = {text}" + (f"  # {flag.comment}\n" if flag.comment else "\n")


def _toml(value: Any) -> str:
    if isinstance(value, str):  # JSON's escapes are TOML's; standard output has others for control characters
        return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _typed(found: str, value: Any, flag: Flag) -> Any:
    """The value of a key with the type of its flag. Raises UserError, which begins with what was `found`."""
    if not all(map(is_moderate, value if isinstance(value, list) else [value])):
        raise UserError(f"{found:.200}: is not finite or too large, expected {flag.expected}")
    if flag.several:
        if not isinstance(value, list) or not all(_fits(item, flag) for item in value):
            raise UserError(f"{found}: expected a list of {MANY[flag.kind]}")
        return tuple(flag.kind(item) for item in value)
    if not _fits(value, flag):
        raise UserError(f"{found}: expected {', '.join(map(_toml, flag.choices)) or flag.expected}")
    return flag.kind(value)


def _fits(value: Any, flag: Flag) -> bool:
    allowed = (int, float) if flag.kind is float else (flag.kind,)
    return type(value) in allowed and (not flag.choices or value in flag.choices)
