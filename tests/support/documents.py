"""The documents of the repository, and what they name: links, headings, commands."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from tools.options import configuration

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^ *(```+)\w*\n(.*?)^ *\1 *$", re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r"\b((?:pack|train|tools|tests|docs)/[\w/]+\.(?:py|slurm)\b|tools/\w+(?![\w./]))")
RECIPES = {  # the program that gets a recipe's words
    "tools/recipes/pack.slurm": "pack/main.py",
    "tools/recipes/train.slurm": "train/main.py",
}


@dataclass(frozen=True)
class Command:
    """A program of ours, or a target of the Makefile, with the words that follow it."""

    name: str  # "make shards" or "tools/split.py"
    words: tuple[str, ...]


def documents() -> list[Path]:
    """Every Markdown file of the repository."""
    rooms = ("docs", "model", "pack", "train", "tools")
    return sorted([*ROOT.glob("*.md"), *(path for room in rooms for path in (ROOT / room).rglob("*.md"))])


def links(text: str) -> list[str]:
    """The targets of the links and pictures in a document."""
    prose = re.sub(r"`[^`\n]*`", "code", FENCE.sub("", text))
    return re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|href)="([^"]+)"', prose)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to a document's headings."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#+ +(.+?) *$", FENCE.sub("", text), re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if name in found else name)
        found[name] = found.get(name, 0) + 1
    return names


def code(text: str) -> Iterator[str]:
    """The lines of code blocks, continued lines joined, and the pieces of inline code."""
    for _, block in FENCE.findall(text):
        yield from re.sub(r" *\\\n *", " ", block).splitlines()
    yield from re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def commands(text: str) -> Iterator[Command]:
    """Our programs and targets in a document's code. A target's ARGS are words of the program that it starts."""
    for line in code(text):
        try:
            words = shlex.split(line.replace("\\|", "|"), comments=True)
        except ValueError:  # an apostrophe in what is no command
            continue
        if "make" in words[:1]:
            named = [word for word in words[1:] if "=" not in word and re.fullmatch(r"[a-z0-9-]+", word)]
            for target in named[:1]:
                yield Command(f"make {target}", tuple(words[1:]))
        for i, word in enumerate(words):
            for program in programs(word):
                yield Command(program, tuple(words[i + 1 :]))


def programs(text: str) -> list[str]:
    """The programs of ours that a text names: files, and folders that are programs."""
    found = PROGRAM.findall(text)
    return [name for name in found if "." in name or (ROOT / name / "__main__.py").is_file()]


def options(program: str) -> set[str]:
    """The flags that a program knows; none of one that has no configuration."""
    if program.startswith(("tests/", "docs/")):
        return set()
    program = RECIPES.get(program, program)
    config = configuration(program)
    names = {"--" + field.name.replace("_", "-") for field in fields(config)}
    off = {"--no-" + field.name.replace("_", "-") for field in fields(config) if field.type in (bool, "bool")}
    aliases = {name for several in getattr(config, "ALIASES", {}).values() for name in several}
    return names | off | aliases | {"--help", "--config", "--print-config"}


def makefile() -> dict[str, str]:
    """The recipe of every target of the Makefile that has a help text."""
    text = (ROOT / "Makefile").read_text()
    found = re.findall(r"^([a-z0-9-]+):[^\n]*##[^\n]*\n((?:(?:\t|if|else|endif)[^\n]*\n)*)", text, re.MULTILINE)
    return dict(found)
