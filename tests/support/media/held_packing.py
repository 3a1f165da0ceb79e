"""pack/main.py whose processes each wait behind their second clip with records while the file HOLD exists."""

import os
import sys
import time
from pathlib import Path

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

from pack import main
from pack.parts import PartWriter
from tools import cli

HOLD = Path(os.environ["HOLD"])
add, clips = PartWriter.add, []


def held_add(writer, clip, samples):
    add(writer, clip, samples)
    clips.extend([clip] if samples else [])
    while len(clips) > 1 and HOLD.exists():
        time.sleep(0.02)


PartWriter.add = held_add  # also in worker processes, which import this file

if __name__ == "__main__":
    cli.run(main.main)
