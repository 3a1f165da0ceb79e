"""Shards to a checkpoint: `torchrun train/main.py`, or `python train/main.py` for one process."""

import contextlib
import errno
import sys
from collections.abc import Iterator
from pathlib import Path

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli
from tools.cli import UserError
from train.config import Config
from train.runtime.signals import Stop


def main() -> int:
    config = cli.parse(Config)
    stop = Stop()  # first, so that a signal is remembered while torch takes its seconds, which --help need not wait for
    from train.build import build
    from train.dry_run import dry_run, profiled
    from train.loop import train
    from train.runtime.dist import end_of_job, join
    from train.runtime.memory import keep_freed_memory

    with join(config.device) as group, full_disk_told(config.model_dir):
        if group.device.type == "cpu":
            keep_freed_memory()
        run = build(config, group, stop)
        if config.dry_run:
            dry_run(run)
        else:
            with profiled(run):
                finished = train(run)
            if run.curves:
                run.curves.close(finished)
            if group.is_main:
                tell_end(run, finished)
    if group.world_size > 1:
        end_of_job()
    return 0


def tell_end(run, finished: bool) -> None:
    """Say what there is now, or how it goes on."""
    place = run.place
    print(
        f"done: {run.folder / run.name}.pth holds the best network, for iw3 as it is"
        if finished
        else f"stopped by {run.stop.name or 'another process'} in epoch {place.epoch} after {place.slots_done} "
        f"sequences; the same command with --resume goes on from there",
        flush=True,
    )


@contextlib.contextmanager
def full_disk_told(folder: str) -> Iterator[None]:
    """Inside the block a full disk, which says no more than that, says where and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"no space is left for {folder}, its last checkpoint is as it was: make room and go on with --resume"
        ) from error


if __name__ == "__main__":
    cli.run(main)
