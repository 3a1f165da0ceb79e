"""Prints what a network was made of: films, holes, steps, start, code and evaluation."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

if not __package__:  # run as a folder: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tools import cli
from tools.cli import UserError


@dataclass(frozen=True)
class Config:
    """Print what a network was made of."""

    ALIASES: ClassVar = {"checkpoint": ("-i",)}
    checkpoint: str = ""  # weight file or training checkpoint, or base (required)
    json: bool = False  # print JSON instead of sentences

    def __post_init__(self):
        if not self.checkpoint:
            raise UserError("--checkpoint is missing: pass a weight file")


def main() -> None:
    config = cli.parse(Config)
    from model.checkpoint import read_file
    from tools.lineage.made_of import as_lines, lineage_of

    found = lineage_of(read_file(config.checkpoint))
    if config.json:
        print(json.dumps(found, indent=1))
    elif found:
        print("\n".join(as_lines(found)))
    else:
        print(f"{config.checkpoint} does not say what it was made of: it is iw3's, or of an earlier version")


if __name__ == "__main__":
    cli.run(main)
