"""The time that training waits for data, with the number of workers that --dry-run recommends."""

import re
import shutil
from pathlib import Path

import numpy as np

from tools.benches.case import Case, Gauge, Goal, Workplace, run_program
from tools.benches.records import as_dataset

STEPS = 200
MEDIAN_GOAL = 1  # percent of a step's time


def prepare(place: Workplace) -> Gauge:
    data, model = as_dataset(place), place.folder / "wait model"
    steps = 3 if place.tiny else STEPS
    words = [
        "train/main.py",
        "-i",
        data,
        "--model-dir",
        model,
        "--loss",
        "temporal_l1",
        "--tile",
        64 if place.tiny else 120,
    ]
    words += ["--backward-step", 1, "--num-samples", 12 * steps, "--max-epoch", 1, "--learning-rate-cycles", 1]
    words += ["--skip-eval", "--seed", 1, "--device", "cpu"]

    def measure() -> float:
        shutil.rmtree(model, ignore_errors=True)
        advice = run_program([*words, "--dry-run"])
        found = re.search(r"--num-workers (\d+) keeps", advice)
        assert found, advice
        workers = int(found[1])
        run_program([*words, "--num-workers", workers])
        waits = 100 * data_waits(model)
        assert len(waits) == steps, f"found {len(waits)} steps in the log, expected {steps}"
        median = float(np.median(waits))
        gauge.notes["median"] = (
            f"{median:.2f} %, {'reached' if median <= MEDIAN_GOAL else 'MISSED'} (<= {MEDIAN_GOAL} %)"
        )
        gauge.notes["workers"] = f"{workers}, on the same cores as the training"
        gauge.notes["longest"] = f"{waits.max():.1f} % of step {1 + int(waits.argmax())}"
        return max(float(np.percentile(waits, 99)), 1e-6)

    gauge = Gauge(measure)
    return gauge


def data_waits(model: Path) -> np.ndarray:
    """The share of each optimizer step that was spent waiting for samples, from the training's log."""
    # imports TensorFlow stubs, which take seconds
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (logs,) = (model / "logs").glob("*/steps")
    events = EventAccumulator(str(logs), size_guidance={"scalars": 0})
    events.Reload()
    return np.array([event.value for event in events.Scalars("speed/data_wait")])


CASES = (
    Case(
        "wait",
        f"share of a training step spent waiting for data, 99th percentile of {STEPS} steps",
        Goal(5, "%", at_most=True),
        prepare,
        most_rounds=1,
    ),
)
