"""The shards that the parts train and evaluate on: those that are there, or packed from the films."""

import re
import time

from tools.cli import UserError
from tools.gpu.work import Row, Work, run_program

TINY = ("--size", 128, "--short-sides", 144, "--resolution", 64, "--divergence-level", 3)


def ready_data(work: Work) -> None:
    """See to it that there are the splits train/ and eval/; of several films the last one is for evaluation.

    The rate of packing, from the start of the program to its end, becomes a row of part c.
    """
    if all(any((work.data / split).glob("*.tar")) for split in ("train", "eval")):
        return
    if len(work.videos) < 2:
        raise UserError(
            f"expected 2 or more films to train and to evaluate on, found {len(work.videos)}: pass --videos"
        )
    for split, videos in (("train", work.videos[:-1]), ("eval", work.videos[-1:])):
        pack(work, split, *videos)


def pack(work: Work, split: str, *videos: object) -> None:
    """Pack films into a split and add a row with the frames per second."""
    started = time.monotonic()
    words = ("--video", *videos, "-o", work.data / split, "--device", work.device.type, "--holes", "mix")
    out = run_program("pack/main.py", *words, *(TINY if work.tiny else ()))
    seconds = time.monotonic() - started
    frames = 16 * sum(map(int, re.findall(r" from (\d+) clips?", out)))
    notes = {"frames": frames, "seconds": seconds, "includes": "the start of the program, decoding and encoding"}
    work.add(Row("c", f"packing {split}, depth and holes", frames / seconds, "frames/s", notes=notes))
