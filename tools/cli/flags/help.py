"""The text of `--help`: a table of the flags and their comments."""

import dataclasses
import os
import shutil
import sys
import textwrap
from typing import Any

from tools.cli.flags.fields import Flag

COLUMN = 24  # where help texts start; longer flags have theirs on the next line


def help_text(title: str, flags: list[Flag]) -> str:
    """What a program does, and each of its flags with comment and default."""
    width = max(shutil.get_terminal_size().columns - 2, COLUMN + 20)
    table = "\n".join(_row(flag, width) for flag in flags)
    return f"usage: {os.path.basename(sys.argv[0])} [--flag value ...]\n\n{title}\n\noptions:\n{table}"


def _row(flag: Flag, width: int) -> str:
    left = "  " + ", ".join([*flag.names, *filter(None, [flag.off])]) + _values(flag)
    lines = textwrap.wrap(flag.comment + _default(flag.default), width - COLUMN, break_on_hyphens=False)
    indented = [" " * COLUMN + line for line in lines]
    if len(left) > COLUMN - 2:
        return "\n".join([left, *indented])
    return "\n".join([left.ljust(COLUMN) + "".join(lines[:1]), *indented[1:]])


def _values(flag: Flag) -> str:
    if flag.kind is bool:
        return ""
    if flag.several:
        return " VALUE [VALUE ...]"
    return " {" + ",".join(map(str, flag.choices)) + "}" if flag.choices else f" {flag.kind.__name__.upper()}"


def _default(value: Any) -> str:
    if value is dataclasses.MISSING:
        return " (required)"
    if isinstance(value, bool):
        return f" (default: {'on' if value else 'off'})"
    words = " ".join(map(str, value)) if isinstance(value, tuple) else value
    return "" if words is None or words == "" else f" (default: {words})"
