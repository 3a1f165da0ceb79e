"""Scaling to a second training process, as far as the cores allow."""

import re
import shutil

from tools.benches.case import Case, Gauge, Workplace, run_program
from tools.benches.records import as_dataset
from tools.cli.machine import usable_cores

STEPS = 12
PROCESSES = 2


def prepare(place: Workplace) -> Gauge:
    """Sequences per second of two processes with one thread each, in percent of twice the rate of one process."""
    data, model = as_dataset(place), place.folder / "scale model"

    def rate(processes: int) -> float:
        shutil.rmtree(model, ignore_errors=True)
        words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes, "train/main.py"]
        words += ["-i", data, "--model-dir", model, "--loss", "temporal_l1", "--tile", 64 if place.tiny else 120]
        words += ["--num-samples", 12 * (2 if place.tiny else STEPS) * processes, "--backward-step", processes]
        words += ["--max-epoch", 1, "--learning-rate-cycles", 1, "--skip-eval", "--seed", 1, "--device", "cpu"]
        out = run_program([*words, "--num-workers", 0], OMP_NUM_THREADS="1")
        found = re.search(r"epoch 1/1: .* ([\d.]+) sequences/s", out)
        assert found, out
        return float(found[1])

    def measure() -> float:
        return 100 * rate(PROCESSES) / (PROCESSES * rate(1))

    return Gauge(measure, notes={"cores": usable_cores()})


CASES = (
    Case(
        "scale",
        f"rate of {PROCESSES} training processes, in percent of {PROCESSES} times the rate of one",
        None,
        prepare,
        3,
    ),
)
