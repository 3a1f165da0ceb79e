"""The shards that the parts train and evaluate on: those that are there, or packed from the films."""

import re
import time

from pack.shards.shard import list_shards
from tools.cli import UserError
from tools.gpu.work import Row, Work

TINY = ("--size", 128, "--short-sides", 144, "--resolution", 64, "--divergence-level", 3)


def ready_data(work: Work) -> None:
    """See to it that there are the splits train/ and eval/; the last film that gives records is for evaluation.

    The rate of packing, from the start of the program to its end, becomes a row of part c. Raises UserError when the
    films do not give records for both splits.
    """
    if all(count_records(work, split) for split in ("train", "eval")):
        return
    if len(work.videos) < 2:
        raise UserError(
            f"expected 2 or more films to train and to evaluate on, found {len(work.videos)}: pass --videos"
        )
    films = [*work.videos]
    while len(films) > 1 and not count_records(work, "eval"):
        pack(work, "eval", films.pop())
    pack(work, "train", *films)
    for split in ("eval", "train"):
        if not count_records(work, split):
            names = ", ".join(video.name for video in work.videos)
            raise UserError(
                f"the films give no records for {split}/, as they have too few holes ({names}): add --videos"
            )


def count_records(work: Work, split: str) -> int:
    """The records of a split, 0 where there is none."""
    if not any((work.data / split).glob("*.tar")):
        return 0
    return sum(len(shard.records) for shard in list_shards(work.data / split))


def pack(work: Work, split: str, *videos: object) -> None:
    """Pack films into a split and add a row with the frames per second."""
    started = time.monotonic()
    words = ("--video", *videos, "-o", work.data / split, "--device", work.device.type, "--holes", "mix")
    out = work.run("pack/main.py", *words, *(TINY if work.tiny else ()))
    seconds = time.monotonic() - started
    frames = 16 * sum(map(int, re.findall(r" from (\d+) clips?", out)))
    notes = {"frames": frames, "seconds": seconds, "includes": "the start of the program, decoding and encoding"}
    work.add(Row("c", f"packing {split}, depth and holes", frames / seconds, "frames/s", notes=notes))
