"""A command line from a dataclass.

A program's configuration is one flat frozen dataclass: each field is a flag, the field's default is the flag's default
and the comment behind the field is the help text. Only the standard library is imported, so that `--help` is fast.
"""

import argparse
import dataclasses
import difflib
import inspect
import io
import os
import re
import sys
import tokenize
import types
import typing
from typing import Any, TypeVar

from tools.cli.errors import UserError, one_line


class _Dataclass(typing.Protocol):
    __dataclass_fields__: typing.ClassVar[dict[str, Any]]


Config = TypeVar("Config", bound=_Dataclass)


def parse(config_class: type[Config], argv: list[str] | None = None) -> Config:
    """The configuration that the command line describes.

    A field `batch_size: int = 2  # help` becomes `--batch-size`; a bool becomes `--x/--no-x`; a `Literal` lists its
    choices; a `tuple[str, ...]` takes several values. `ALIASES = {"data_dir": ("-o",)}` in the class adds short names.
    A wrong flag or value ends the program with one line and exit status 2 before any work starts.
    """
    parser = _Parser(
        prog=os.path.basename(sys.argv[0]), description=_summary(config_class), allow_abbrev=False, add_help=True
    )
    helps = field_comments(config_class)
    aliases = getattr(config_class, "ALIASES", {})
    hints = typing.get_type_hints(config_class)
    known = ["-h", "--help"]
    for field in dataclasses.fields(config_class):
        names = [*aliases.get(field.name, ()), "--" + field.name.replace("_", "-")]
        argument = _argument(hints[field.name], field.default, helps.get(field.name, ""))
        known += parser.add_argument(*names, dest=field.name, **argument).option_strings
    words = [_hyphens(word) for word in (sys.argv[1:] if argv is None else argv)]
    values, unknown = parser.parse_known_args(words)
    if unknown:
        parser.error(_unknown_flag(unknown[0], known))
    try:
        return config_class(**{name: _tuple(value) for name, value in vars(values).items()})
    except UserError as error:  # from __post_init__: a value is out of its range
        parser.error(str(error))


def field_comments(config_class: type) -> dict[str, str]:
    """The comment of each field of a dataclass, which may continue on the next lines."""
    source = inspect.cleandoc("\n" + inspect.getsource(config_class))
    comments: dict[str, str] = {}
    field = None
    line_start = True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and field:
            comments[field] = f"{comments.get(field, '')} {token.string.lstrip('# ')}".strip()
        elif token.type == tokenize.NAME and line_start:
            match = re.match(r"\s*(\w+)\s*:\s*\S", token.line)
            field = match[1] if match else None
        line_start = token.type in (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT)
    return comments


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> typing.NoReturn:
        if os.environ.get("RANK", "0") == "0":  # every process of a job finds the same mistake: print it once
            print(f"error: {one_line(message)} (see --help)", file=sys.stderr)
        sys.exit(2)


def _argument(hint: Any, default: Any, text: str) -> dict[str, Any]:
    """The keyword arguments of `add_argument` for one field."""
    words = " ".join(map(str, default)) if isinstance(default, tuple) else default
    shown = "" if words is None or words == "" else f" (default: {words})"
    keywords: dict[str, Any] = {"default": default, "help": (text + shown).replace("%", "%%")}
    if default is dataclasses.MISSING:
        keywords |= {"default": None, "required": True, "help": (text + " (required)").replace("%", "%%")}
    if typing.get_origin(hint) in (types.UnionType, typing.Union):  # int | None
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    if hint is bool:
        return keywords | {"action": argparse.BooleanOptionalAction}
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        return keywords | {"choices": choices, "type": type(choices[0])}
    if typing.get_origin(hint) is tuple:
        return keywords | {"nargs": "+", "type": typing.get_args(hint)[0], "metavar": "VALUE"}
    return keywords | {"type": hint, "metavar": hint.__name__.upper()}


def _hyphens(word: str) -> str:
    """`--batch_size=2` as `--batch-size=2`."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _unknown_flag(word: str, known: list[str]) -> str:
    name = word.partition("=")[0]
    near = difflib.get_close_matches(name, known, n=1)
    return f"unknown argument {word}" + (f", did you mean {near[0]}?" if near else "")


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _summary(config_class: type) -> str:
    return (config_class.__doc__ or "").strip().split("\n")[0]
