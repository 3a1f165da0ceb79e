"""Benchmarks: each case times our code beside a plain reference and compares with a goal. `make bench` runs it.

The references are textbook implementations of each step and belong to the benchmark. Before anything is timed, both
must give the same result. Ours and the reference run in turns, so that other load on the machine affects both alike.
"""

import importlib
import json
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli
from tools.cli import UserError, plural
from tools.cli.files import append_line
from tools.cli.machine import usable_cores

if TYPE_CHECKING:
    from tools.benches.case import Case

MODULES = (
    "holes",
    "packing",
    "sample",
    "stream",
    "wait",
    "step",
    "perceptual",
    "startup",
    "scale",
    "replicas",
    "checkpoint",
    "gpu",
)  # of tools/benches, each with its CASES


@dataclass(frozen=True)
class Config:
    """Measure the speed and memory of each step, beside plain references."""

    ALIASES: ClassVar = {"out": ("-o",)}
    cases: tuple[str, ...] = ()  # names of cases or of groups of cases (default: all)
    rounds: int = 5  # repetitions of each case; slow cases are limited to fewer
    out: str = "bench"  # output folder for results.jsonl and the data of the cases

    def __post_init__(self):
        if self.rounds < 1:
            raise UserError(f"--rounds {self.rounds}: expected 1 or more")


def main() -> int:
    config = cli.parse(Config)
    chosen = choose(config.cases)
    facts = machine()
    print("  ".join(f"{name}: {value}" for name, value in facts.items()))
    results = Path(config.out) / "results.jsonl"
    results.parent.mkdir(parents=True, exist_ok=True)
    table, missed = Table(), 0
    for module, name in chosen:
        result = measure(module, name, Path(config.out) / "work", config.rounds)
        append_line(results, json.dumps({"time": time.strftime("%F %T"), "machine": facts} | result))
        table.show(result)
        missed += result["reached"] is False
    print(f"{plural(len(chosen), 'case')}, {plural(missed, 'goal')} missed; results are in {results}")
    return 0


def choose(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Module and name of the cases that the words name. Raises UserError for an unknown name."""
    names = [(module, case.name) for module in MODULES for case in load(module)]
    unknown = [word for word in words if not any(word in pair for pair in names)]
    if unknown:
        raise UserError(f"--cases {unknown[0]}: expected some of {', '.join(name for _, name in names)}")
    return [pair for pair in names if not words or set(words) & set(pair)]


def load(module: str) -> "tuple[Case, ...]":
    """The cases of a module of tools/benches."""
    return importlib.import_module(f"tools.benches.{module}").CASES


def measure(module: str, name: str, folder: Path, rounds: int) -> dict[str, Any]:
    """The result of a case, measured in a process of its own, so that cases do not share threads or memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_measure, module, name, folder, rounds).result()


def _measure(module: str, name: str, folder: Path, rounds: int) -> dict[str, Any]:
    from tools.benches.case import run_case

    case = next(case for case in load(module) if case.name == name)
    return run_case(case, folder.resolve(), rounds).as_json()


class Table:
    """Prints a row for each result as soon as it is there."""

    WIDTHS = (18, 32, 32, 24, 18, 12, 8)

    def __init__(self):
        self.row("case", "ours", "reference", "ratio", "CPU ratio", "goal", "")

    def row(self, *cells: str) -> None:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, self.WIDTHS, strict=True)).rstrip(), flush=True)

    def show(self, result: dict[str, Any]) -> None:
        """Print the row of a result, its description and its notes."""
        goal, seconds = result["goal"], result["seconds"]
        sides = [f"{spread(seconds[who])} {result['unit']}" for who in ("ours", "reference")] if seconds else ["", ""]
        unit = goal["unit"] if goal else "x" if seconds else result["unit"]
        limit = f"{'<=' if goal['at_most'] else '>='} {goal['value']:g} {unit}" if goal else ""
        verdict = {True: "reached", False: "MISSED", None: ""}[result["reached"]]
        cpu = spread(result["cpu_ratio"]) if result["cpu_ratio"] else ""
        self.row(result["name"], *sides, f"{spread(result['found'])} {unit}", cpu, limit, verdict)
        print(f"    {result['what']}", flush=True)
        for name, value in result["notes"].items():
            print(f"    {name}: {value}", flush=True)


def spread(values: list[float]) -> str:
    """Median and range of several measurements, as text."""
    from tools.benches.case import Spread

    return str(Spread(tuple(values)))


def machine() -> dict[str, object]:
    """The hardware and software that the numbers depend on."""
    import torch  # takes seconds, which --help must not wait for

    return {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
    }


def cpu_name() -> str:
    """The model name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    cli.run(main)
