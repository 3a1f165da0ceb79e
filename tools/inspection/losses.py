"""The last losses of each record of a split, from the checkpoint of a training."""

from pathlib import Path

import numpy as np

from model.checkpoint import read_file
from pack.shards.index import Index
from tools.cli import MissingFile, UserError
from train.checkpoints.state import included_numbers
from train.data.mining import KEPT, History


def read_losses(folder: Path, shards: list[Index]) -> np.ndarray:  # -> float32 (KEPT N), the newest last
    """The last losses of each record of these shards, NaN where there are none.

    Raises MissingFile or UserError when no checkpoint in the folder has losses of these records.
    """
    path = newest_checkpoint(folder)
    ours = read_file(path).get("backfill")
    if ours is None or ours["mining"] is None:
        raise UserError(f"{path}: holds no losses of records, expected a training with --hard-example linear")
    history = History(ours["mining"]["records"])
    history.load_state_dict(ours["mining"])
    if ours["place"]["losses"]:  # of the unfinished epoch
        numbers, latest = zip(*ours["place"]["losses"], strict=True)
        history.update(np.array(numbers), np.array(latest))
    age = np.arange(KEPT, 0, -1)[:, None]
    known = np.where(age <= history.counts, history.losses, np.nan)
    losses = rearranged(known, ours["data"]["shards"], shards)
    if np.isnan(losses).all():
        raise UserError(
            f"{path}: holds no loss of a record of {shards[0].tar.parent}: pass the split that it was trained on"
        )
    return losses


def newest_checkpoint(folder: Path) -> Path:
    """The checkpoint that was written last. Raises MissingFile."""
    paths = sorted(folder.glob("*.checkpoint.pth"), key=lambda path: path.stat().st_mtime)
    if not paths:
        raise MissingFile(f"{folder}: holds no *.checkpoint.pth, expected the --model-dir of a training")
    return paths[-1]


def rearranged(known: np.ndarray, rows: list[list], shards: list[Index]) -> np.ndarray:  # (KEPT n) -> (KEPT N)
    """Losses in the order of a checkpoint's shards (`rows`), rearranged to the order of these shards.

    `shards` have all their records; the checkpoint's may lack excluded ones.
    """
    starts = dict(
        zip([(s.name, s.sha256) for s in shards], np.cumsum([0] + [len(s.records) for s in shards]), strict=False)
    )
    moved = np.full((KEPT, sum(len(shard.records) for shard in shards)), np.nan, np.float32)
    start = 0
    for name, sha256, count, *left_out in rows:
        if (name, sha256) in starts:
            moved[:, starts[name, sha256] + included_numbers(count, left_out)] = known[:, start : start + count]
        start += count
    return moved
