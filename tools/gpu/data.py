"""The shards that the parts train and evaluate on: those that are there, or packed from the films."""

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
    run_program("pack/main.py", *words, *(TINY if work.tiny else ("--skip-interval", 0)))
    seconds = time.monotonic() - started
    frames = 16 * clips_in(work, split)
    notes = {"frames": frames, "seconds": seconds, "includes": "the start of the program, decoding and encoding"}
    work.add(Row("c", f"packing {split}, depth and holes", frames / seconds, "frames/s", notes=notes))


def clips_in(work: Work, split: str) -> int:
    """The number of different clips of which a split has records."""
    from pack.shards.shard import list_shards

    keys = [entry.key for shard in list_shards(work.data / split) for entry in shard.records]
    return len({key.rsplit("_", 1)[0] for key in keys})
