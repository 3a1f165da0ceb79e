"""The fields of a configuration as flags: names, types and help texts."""

import dataclasses
import inspect
import io
import re
import tokenize
import types
import typing
from dataclasses import dataclass
from typing import Any

from tools.cli.errors import UserError

EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text in quotes"}


@dataclass(frozen=True)
class Flag:
    """A field of a configuration as a flag of the command line and as a key of a configuration file."""

    field: str
    names: tuple[str, ...]  # aliases first, "--data-dir" last
    kind: type  # of one value: bool, int, float or str
    default: Any = None  # MISSING: the flag is required
    choices: tuple[Any, ...] = ()  # all values there are; (): any of the type
    several: bool = False  # a tuple of values
    comment: str = ""

    @property
    def name(self) -> str:
        return self.names[-1]

    @property
    def off(self) -> str:
        """The flag that switches it off; empty unless it is a bool with a default."""
        return f"--no-{self.name[2:]}" if self.kind is bool and self.default is not None else ""

    @property
    def expected(self) -> str:
        """What one value has to be."""
        return ", ".join(map(str, self.choices)) if self.choices else EXPECTED[self.kind]

    def convert(self, text: str) -> Any:
        """One value from its text on the command line. Raises UserError."""
        try:
            value = self.kind(text)
        except ValueError:
            raise UserError(f"argument {self.name} {text}: expected {self.expected}") from None
        if self.choices and value not in self.choices:
            raise UserError(f"argument {self.name} {text}: expected one of {self.expected}")
        if not is_moderate(value):
            raise UserError(f"argument {self.name} {text}: is not finite or too large, expected {self.expected}")
        return value


def is_moderate(value: Any) -> bool:
    """Whether a value is no number, or one of less than 64 bits: not NaN, for which no range check fails."""
    return not isinstance(value, int | float) or -(1 << 63) < value < 1 << 63


def read_flags(config_class: type) -> list[Flag]:
    """The flags of a configuration, in the order of its fields."""
    comments, hints = field_comments(config_class), typing.get_type_hints(config_class)
    aliases = getattr(config_class, "ALIASES", {})
    return [
        Flag(
            field.name,
            (*aliases.get(field.name, ()), "--" + field.name.replace("_", "-")),
            default=field.default,
            comment=comments.get(field.name, ""),
            **_typed(hints[field.name]),
        )
        for field in dataclasses.fields(config_class)
    ]


def _typed(hint: Any) -> dict[str, Any]:
    """The fields of a Flag that its type hint decides."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):  # int | None
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        return {"kind": type(choices[0]), "choices": choices}
    if typing.get_origin(hint) is tuple:
        return {"kind": typing.get_args(hint)[0], "several": True}
    return {"kind": hint}


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


def summary(config_class: type) -> str:
    """The first line of a configuration's docstring: what its program does."""
    return (config_class.__doc__ or "").strip().split("\n")[0]
