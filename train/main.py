"""Trains a network on shards: `torchrun train/main.py`, or `python train/main.py` for one process."""

import contextlib
import errno
import sys
import time
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
    started = time.monotonic()
    stop = Stop()  # before torch is imported, which takes seconds, so that --help is fast
    from train.build import build
    from train.dry_run import dry_run, profiled
    from train.loop import train
    from train.out_of_memory import explain_out_of_memory
    from train.runtime.cpu import prepare_cpu
    from train.runtime.determinism import use_deterministic_algorithms
    from train.runtime.dist import end_of_job, join
    from train.runtime.lock import lock_folder
    from train.runtime.restarts import status_at_end
    from train.summary import end_run

    if config.deterministic:
        use_deterministic_algorithms()
    finished = True
    with join(config.device, 60 * config.timeout, Path(config.model_dir)) as group, explain_full_disk(config.model_dir):
        prepare_cpu(group.device)
        if config.dry_run:
            run = build(config, group, stop)
            with explain_out_of_memory(run.job, writes=False):
                dry_run(run)
        else:
            with lock_folder(Path(config.model_dir), group):
                run = build(config, group, stop)
                with explain_out_of_memory(run.job) as count_step, profiled(run) as profile_step:
                    finished = train(run, lambda: (count_step(), profile_step()))
                if run.curves:
                    run.curves.close(finished)
                if group.is_main:
                    end_run(run, finished, time.monotonic() - started)
    if group.world_size > 1:
        end_of_job(status_at_end(stop, finished))
    return 0


@contextlib.contextmanager
def explain_full_disk(folder: str) -> Iterator[None]:
    """Inside the block the error of a full disk becomes a UserError with the folder and the fix."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"no space is left for {folder}, its last checkpoint is unchanged: free space and continue with --resume"
        ) from error


if __name__ == "__main__":
    cli.run(main)
