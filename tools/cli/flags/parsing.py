"""A command line from a dataclass.

A program's configuration is one flat frozen dataclass: each field is a flag, the field's default is the flag's default
and the comment behind the field is the help text. fire binds the words to the fields; nothing heavy is imported, so
that `--help` is fast.
"""

import dataclasses
import inspect
import json
import os
import sys
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import fire
from fire.decorators import SetParseFns

from tools.cli.errors import UserError, one_line
from tools.cli.flags.config_file import config_text, read_config
from tools.cli.flags.fields import Flag, read_flags, summary
from tools.cli.flags.help import help_text
from tools.cli.flags.words import translate
from tools.cli.program import is_users, tell_torchrun


class _Dataclass(typing.Protocol):
    __dataclass_fields__: typing.ClassVar[dict[str, Any]]


Config = TypeVar("Config", bound=_Dataclass)

EVERY_PROGRAM = [
    Flag("help", ("-h", "--help"), bool, comment="show this text and end"),
    Flag("config", ("--config",), str, comment="TOML file with values of these flags; the command line wins over it"),
    Flag("print_config", ("--print-config",), bool, comment="print all values as TOML, as --config reads it, and end"),
]


def parse(config_class: type[Config], argv: list[str] | None = None) -> Config:
    """The configuration that the command line describes.

    A field `batch_size: int = 2  # help` becomes `--batch-size`; a bool becomes `--x/--no-x`; a `Literal` lists its
    choices; a `tuple[str, ...]` takes several values. `ALIASES = {"data_dir": ("-o",)}` in the class adds short names.
    `--config FILE` reads values from a TOML file, `--print-config` prints all of them and ends the program.
    A wrong flag or value ends the program with one line and exit status 2 before any work starts.
    """
    flags = read_flags(config_class)
    words = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(words[: words.index("--")] if "--" in words else words):
        print(help_text(summary(config_class), EVERY_PROGRAM[:1] + flags + EVERY_PROGRAM[1:]))
        sys.exit(0)
    try:
        given = fire_values(words, EVERY_PROGRAM + flags)
        values = read_config(given["config"], flags) if "config" in given else {}
        values |= {flag.field: given[flag.field] for flag in flags if flag.field in given}
        check_required(flags, values)
        config = config_class(**values)
        text = config_text(config) if given.get("print_config") else ""
    except (UserError, OSError) as error:  # also from __post_init__: a value is out of its range, or no path
        if not is_users(error):
            raise
        line = f"error: {one_line(error)} (see --help)"
        if is_first():  # every process of a job finds the same mistake: print it once
            print(line, file=sys.stderr)
        tell_torchrun(line)
        sys.exit(2)
    if text:
        print(text if is_first() else "", end="")
        sys.exit(0)
    return config


def fire_values(words: list[str], flags: list[Flag]) -> dict[str, Any]:
    """The values on the command line by field, parsed by fire. Raises UserError.

    fire calls a function whose keyword-only parameters are the flags, and parses each value by the type of its field:
    without these functions it would read values as Python literals, `001` as 1.
    """

    def given(**values: Any) -> dict[str, Any]:
        return values

    parameters = [inspect.Parameter(flag.field, inspect.Parameter.KEYWORD_ONLY, default=flag.default) for flag in flags]
    given.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    SetParseFns(**{flag.field: parse_function(flag) for flag in flags})(given)
    return fire.Fire(given, command=translate(words, flags), serialize=lambda _: None)  # None: print nothing


def parse_function(flag: Flag) -> Callable[[str], Any]:
    """What turns the text that `translate` made of a flag's value into the value."""
    if flag.kind is bool:
        return lambda text: text == "True"
    if flag.several:
        return lambda text: tuple(map(flag.convert, json.loads(text)))
    return flag.convert


def check_required(flags: list[Flag], values: dict[str, Any]) -> None:
    """Raise UserError when a flag without a default has no value."""
    missing = [flag.name for flag in flags if flag.default is dataclasses.MISSING and flag.field not in values]
    if missing:
        raise UserError(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")


def is_first() -> bool:
    """Whether this is the first process of a job of torchrun, or the only one."""
    return os.environ.get("RANK", "0") == "0"
