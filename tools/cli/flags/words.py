"""The words of a command line, in the spelling that fire reads."""

import difflib
import json
from collections.abc import Iterable

from tools.cli.errors import UserError
from tools.cli.flags.fields import Flag


def translate(words: list[str], flags: list[Flag]) -> list[str]:
    """The words as fire reads them: each flag with its value as `--field=value`.

    fire knows neither hyphens, aliases, several values of a flag nor `--no-x`. It takes a lone `-` or `--` for commands
    of its own, and a word that belongs to no flag for the name of an attribute. So it only gets `--field=value`;
    several values are one JSON list. Raises UserError for a word without a flag and for a flag without its value.
    """
    names = {name: flag for flag in flags for name in (*flag.names, flag.off) if name}
    marked = _mark(words, names)
    translated = []
    while marked:
        word, is_flag = marked.pop(0)
        name, value = _split(word, names)
        if not is_flag or name not in names:
            raise UserError(f"unknown argument {word}{suggestion(word, names)}")
        flag, values = names[name], [value] if value is not None else _take(marked, names[name])
        if flag.kind is bool and values:
            raise UserError(f"argument {name}={values[0]}: expected {name} without a value")
        if flag.kind is not bool and not values:
            raise UserError(f"argument {name} has no value: write {flag.name}=VALUE if it begins with a dash")
        text = str(name != flag.off) if flag.kind is bool else json.dumps(values) if flag.several else values[0]
        translated.append(f"--{flag.field}={text}")
    return translated


def suggestion(word: str, names: Iterable[str]) -> str:
    """ ", did you mean ...?" with the name that is nearest to the word; empty when none is near."""
    near = difflib.get_close_matches(word.partition("=")[0], names, n=1)
    return f", did you mean {near[0]}?" if near else ""


def _mark(words: list[str], names: dict[str, Flag]) -> list[tuple[str, bool]]:
    """Each word with whether it is a flag. Words after a `--`, which is left out, are values."""
    end = words.index("--") if "--" in words[:-1] else len(words)
    return [(word, _is_flag(word, names)) for word in words[:end]] + [(word, False) for word in words[end + 1 :]]


def _is_flag(word: str, names: dict[str, Flag]) -> bool:
    """Whether the word is a flag, known or not. A number, a lone dash and words with a space between are values."""
    if _split(word, names)[0] in names:
        return True
    return word.startswith("-") and word != "-" and " " not in word and not _is_number(word)


def _is_number(word: str) -> bool:
    try:
        return float(word) is not None
    except ValueError:
        return False


def _split(word: str, names: dict[str, Flag]) -> tuple[str, str | None]:
    """The name of a flag, with hyphens, and the value in the same word, if any: `--x=1`, `-i=data`, `-idata`."""
    if not word.startswith("--") and word not in names and word[:2] in names:
        return word[:2], word[2:].removeprefix("=")
    name, equals, value = word.partition("=")
    return name.replace("_", "-") if name.startswith("--") else name, value if equals else None


def _take(marked: list[tuple[str, bool]], flag: Flag) -> list[str]:
    """Remove the values of a flag from the start of the words and return them."""
    most = 0 if flag.kind is bool else len(marked) if flag.several else 1
    count = next((i for i, (_, is_flag) in enumerate(marked[:most]) if is_flag), min(most, len(marked)))
    values = [word for word, _ in marked[:count]]
    del marked[:count]
    return values
