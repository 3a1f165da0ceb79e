"""What a training has learned of a split's records: the last losses of each, from its checkpoint."""

from pathlib import Path

import numpy as np

from model.checkpoint import read_file
from pack.shards.index import Index
from tools.cli import MissingFile, UserError
from train.checkpoints.state import used_places
from train.data.mining import DEPTH, History


def read_losses(folder: Path, shards: list[Index]) -> np.ndarray:  # -> float32 (DEPTH N), the newest last
    """The last losses of every record of these shards, NaN where there are none.

    Raises MissingFile or UserError when the folder has no checkpoint that knows any of the records.
    """
    path = newest_checkpoint(folder)
    ours = read_file(path).get("backfill")
    if ours is None or ours["mining"] is None:
        raise UserError(f"{path}: has no losses of records, expected a training with --hard-example linear")
    history = History(ours["mining"]["records"])
    history.load_state_dict(ours["mining"])
    if ours["place"]["losses"]:  # of the epoch that was running
        history.update(*zip(*ours["place"]["losses"], strict=True))
    age = np.arange(DEPTH, 0, -1)[:, None]
    known = np.where(age <= history.counts, history.losses, np.nan)
    losses = move(known, ours["data"]["shards"], shards)
    if np.isnan(losses).all():
        raise UserError(
            f"{path}: has no loss of any record of {shards[0].tar.parent}: name the split that it trains on"
        )
    return losses


def newest_checkpoint(folder: Path) -> Path:
    paths = sorted(folder.glob("*.checkpoint.pth"), key=lambda path: path.stat().st_mtime)
    if not paths:
        raise MissingFile(f"{folder}: holds no *.checkpoint.pth, expected the --model-dir of a training")
    return paths[-1]


def move(known: np.ndarray, rows: list[list], shards: list[Index]) -> np.ndarray:  # (DEPTH n) -> (DEPTH N)
    """The losses of the records in a checkpoint's order, in the order of these shards, which have all their records."""
    starts = dict(
        zip([(s.name, s.sha256) for s in shards], np.cumsum([0] + [len(s.records) for s in shards]), strict=False)
    )
    moved = np.full((DEPTH, sum(len(shard.records) for shard in shards)), np.nan, np.float32)
    start = 0
    for name, sha256, count, *left_out in rows:
        if (name, sha256) in starts:
            moved[:, starts[name, sha256] + used_places(count, left_out)] = known[:, start : start + count]
        start += count
    return moved
