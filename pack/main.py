"""Packs videos into shards: `python pack/main.py --video FILES -o data/train`, or under torchrun for many videos."""

import os
import sys
import time
from pathlib import Path

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pack.config import Config
from tools import cli
from tools.cli.signals import end_at_sigterm


def main() -> int:
    config = cli.parse(Config)
    end_at_sigterm()
    from pack import packing, report, sources, workers  # after parsing: PyTorch takes seconds to import
    from pack.film_depth import films_of

    started = time.monotonic()
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    videos = sources.find_videos(config.dataset_dir) if config.dataset_dir else films_of(config.depth)
    report.refuse_same_names(videos)
    settings = config.settings()
    tasks = [packing.inspect_video(video, config, settings) for video in sources.share(videos, rank, ranks)]
    if config.dry_run:
        return report.show_plan(tasks, config)
    report.refuse_differences(tasks)
    outcomes = workers.gather(workers.pack(tasks, config, settings), rank, ranks)
    if rank == 0 or not workers.are_joined(ranks):
        report.report(outcomes, time.monotonic() - started, config)
    return int(any(outcome.failure for outcome in outcomes))


if __name__ == "__main__":
    cli.run(main)
