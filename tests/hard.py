"""The long forms of what the tests show in short, with their figures: `make test-hard`.

Each of the four ways to train is killed and resumed until 20 kills have hit it; 1,000 faults are injected into shards;
a worker prepares 5,000 samples; ten million records are planned.
"""

import itertools
import random
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli


@dataclass(frozen=True)
class Config:
    """Kill trainings, damage shards, and measure a worker and the plan, at length."""

    kills: int = 20  # of each way to train
    faults: int = 1000  # in shards
    samples: int = 5000  # of one worker
    records: int = 10_000_000  # in a plan
    seed: int = 1  # of all that is random


def main() -> int:
    config = cli.parse(Config)
    with tempfile.TemporaryDirectory() as folder:
        plan(config)
        kill(config, Path(folder) / "kills")
        damage(config, Path(folder) / "faults")
        work(config, Path(folder) / "worker")
    return 0


def plan(config: Config) -> None:
    """Time and memory of the first epoch's plan and of a weighted one."""
    import numpy as np

    from train.mining import History
    from train.plan import Plan

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    row = Plan([config.records // 1000] * 1000, 1668, config.seed)
    row.records(1)
    shuffled = time.perf_counter() - started
    history = History(row.count)
    history.update(np.arange(100_000), np.linspace(0, 1, 100_000))
    started = time.perf_counter()
    row.records(1, history.weights())
    drawn = time.perf_counter() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"plan of {row.count:,} records: {shuffled:.2f} s shuffled, {drawn:.2f} s weighted, {grown:.0f} MiB at most")


def kill(config: Config, folder: Path) -> None:
    """Every run ends as the one that was never stopped."""
    from tests import runs
    from tests.shards import make_data
    from tests.test_faults import flip
    from tests.test_resume import CASES, live, random_moments

    data = make_data(folder / "data", records=6, evaluation=3, size=80)
    flip(data / "train", record=1, at=0.5)
    for number, (case, world) in enumerate(itertools.product(CASES, (1, 2))):
        started, kills, lives = time.monotonic(), 0, 0
        untouched = folder / f"{case}-{world}"
        runs.train(untouched, *runs.command(data, untouched, *CASES[case]), world=world)
        moments = random_moments(config.seed + number)
        while kills < config.kills:  # a run that ends is followed by another
            lives += 1
            killed = folder / f"{case}-{world}-{lives}"
            few = itertools.islice(moments, config.kills - kills)
            kills += live(killed, runs.command(data, killed, *CASES[case]), world, few)
            assert runs.results(killed) == runs.results(untouched), (case, world, lives)
        seconds = time.monotonic() - started
        print(
            f"{case} on {world}: {kills} kills in {lives} runs, each ends to the last bit as the one never stopped "
            f"({cli.duration(seconds)})",
            flush=True,
        )


def damage(config: Config, folder: Path) -> None:
    """Every fault is caught, by training and by verify, and none becomes a sample."""
    from tests.test_faults import KINDS, Injector

    folder.mkdir()
    injector, rng = Injector(folder), random.Random(config.seed)
    kinds = list(itertools.islice(itertools.cycle(KINDS), config.faults))
    for kind in kinds:
        injector.inject(kind, rng)
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in KINDS)
    print(f"{len(kinds)} faults, all caught by training and verify, none became a sample: {counts}", flush=True)


def work(config: Config, folder: Path) -> None:
    """What a worker's memory grows by."""
    from tests.test_stream import growth

    grown, held = growth(folder, count=config.samples, warm=config.samples // 10)
    first = config.samples // 10
    print(f"a worker: {grown / 2**20:+.1f} MiB from sample {first} to {config.samples}, of {held / 2**20:.0f} MiB")


if __name__ == "__main__":
    cli.run(main)
