"""Prints what a network was made of: films, holes, steps, start, code and evaluation."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli
from tools.cli import UserError, plural


@dataclass(frozen=True)
class Config:
    """Print what a network was made of."""

    ALIASES: ClassVar = {"checkpoint": ("-i",)}
    checkpoint: str = ""  # weight file or training checkpoint, or base (required)
    json: bool = False  # as JSON

    def __post_init__(self):
        if not self.checkpoint:
            raise UserError("--checkpoint is missing: pass a weight file")


def main() -> None:
    config = cli.parse(Config)
    from model.checkpoint import read_file

    found = lineage_of(read_file(config.checkpoint))
    if config.json:
        print(json.dumps(found, indent=1))
    elif found:
        print("\n".join(as_lines(found)))
    else:
        print(f"{config.checkpoint} does not say what it was made of: it is iw3's, or of an earlier version")


def lineage_of(payload: dict[str, Any]) -> dict[str, Any]:
    """The lineage in a weight file, empty where it has none."""
    settings = payload.get("train_kwargs")
    found = settings.get("lineage") if isinstance(settings, dict) else None
    return found if isinstance(found, dict) else {}


def as_lines(found: dict[str, Any]) -> list[str]:
    """The lineage in words, a line each."""
    start, sources = found.get("start") or {}, list_sources(found)
    records = sum(one.get("records", 0) for one in sources)
    heads = [
        f"dataset {found.get('dataset')}: {plural(records, 'record')} of {plural(len(sources), 'source')}",
        *(f"  {describe_source(one)}" for one in sources),
        f"trained for {plural(found.get('steps', 0), 'step')}, to epoch {found.get('epoch')}, seed {found.get('seed')}",
        f"started from {start['name']}, sha256 {start['sha256']}" if start else "started from random weights",
        f"code {found.get('code') or 'unknown'}",
    ]
    numbers = found.get("evaluation") or {}
    measured = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
    return [*heads, f"evaluation: {measured or 'none'}"]


def describe_source(one: dict[str, Any]) -> str:
    """A film of the training split, with its identity and its holes."""
    names = ("holes", "records", "video", "sha256_of_ends")
    holes = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in (one.get("holes") or {}).items())
    others = ", ".join(f"{name} {value}" for name, value in one.items() if name not in (*names, "bytes", "textures"))
    textures = [str(texture.get("video") or texture) for texture in one.get("textures", ())]
    parts = [
        f"{one.get('video')}: {plural(one.get('records', 0), 'record')}",
        f"holes {holes}",
        *([others] if others else []),
        *([f"textures {' '.join(textures)}"] if textures else []),
        *([f"sha256 of its ends {one['sha256_of_ends']}"] if "sha256_of_ends" in one else []),
    ]
    return "; ".join(parts)


def list_sources(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The sources of a lineage, which may be from an untrusted file."""
    sources = found.get("sources")
    return [one for one in sources if isinstance(one, dict)] if isinstance(sources, list) else []


def seen_in_training(found: dict[str, Any], films: Sequence[dict[str, Any]]) -> list[str]:
    """The names of those films of an evaluation, as their indexes identify them, that a network was trained on."""
    sources = list_sources(found)
    trained = [
        *sources,
        *(texture for one in sources for texture in one.get("textures") or () if isinstance(texture, dict)),
    ]
    keys = {one.get("sha256_of_ends") for one in trained} - {None}
    return sorted({str(film.get("video")) for film in films if film.get("sha256_of_ends") in keys})


if __name__ == "__main__":
    cli.run(main)
