"""Times ours and a plain reference side by side, case by case, and says which goals are reached. `make bench` runs it.

The references are textbook versions of each step and part of the benchmark; that they give the same as ours is
checked before anything is timed. Ours and the reference take turns, so that what else the machine does meets both.
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

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli
from tools.cli import UserError
from tools.cli.machine import usable_cores

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
    "gpu",
)  # of tools/benches, each with its CASES


@dataclass(frozen=True)
class Config:
    """Measure how fast everything is, beside plain references."""

    cases: tuple[str, ...] = ()  # cases, or modules of several (default: all)
    rounds: int = 5  # of each case; slow cases take fewer
    out: str = "bench"  # folder for results.jsonl and for what the cases work on

    ALIASES = {"out": ("-o",)}  # noqa: RUF012

    def __post_init__(self):
        if self.rounds < 1:
            raise UserError(f"--rounds {self.rounds} is too small: pass 1 or more")


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
        with open(results, "a") as file:
            file.write(json.dumps({"time": time.strftime("%F %T"), "machine": facts} | result) + "\n")
        table.show(result)
        missed += result["reached"] is False
    print(f"{len(chosen)} cases, {missed} goals missed; {results}")
    return 0


def choose(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Module and name of the cases that are meant. Raises UserError for a word that names none."""
    names = [(module, case.name) for module in MODULES for case in load(module)]
    unknown = [word for word in words if not any(word in pair for pair in names)]
    if unknown:
        raise UserError(f"no case {unknown[0]}: choose from {', '.join(name for _, name in names)}")
    return [pair for pair in names if not words or set(words) & set(pair)]


def load(module: str) -> tuple:
    return importlib.import_module(f"tools.benches.{module}").CASES


def measure(module: str, name: str, folder: Path, rounds: int) -> dict:
    """The result of a case, from a process of its own, so that no case meets another's threads or memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_measure, module, name, folder, rounds).result()


def _measure(module: str, name: str, folder: Path, rounds: int) -> dict:
    from tools.benches.case import run_case

    case = next(case for case in load(module) if case.name == name)
    return run_case(case, folder.resolve(), rounds).as_json()


class Table:
    """Prints a row for each result, as it comes."""

    WIDTHS = (18, 32, 32, 24, 18, 12, 8)

    def __init__(self):
        self.row("case", "ours", "reference", "ratio", "CPU ratio", "goal", "")

    def row(self, *cells: str) -> None:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, self.WIDTHS, strict=True)).rstrip(), flush=True)

    def show(self, result: dict) -> None:
        goal, seconds = result["goal"], result["seconds"]
        sides = [f"{spread(seconds[who])} {result['unit']}" for who in ("ours", "reference")] if seconds else ["", ""]
        unit = goal["unit"] if goal else "x" if seconds else result["unit"]
        aim = f"{'<=' if goal['at_most'] else '>='} {goal['value']:g} {unit}" if goal else ""
        verdict = {True: "reached", False: "MISSED", None: ""}[result["reached"]]
        cpu = spread(result["cpu_ratio"]) if result["cpu_ratio"] else ""
        self.row(result["name"], *sides, f"{spread(result['found'])} {unit}", cpu, aim, verdict)
        print(f"    {result['what']}", flush=True)
        for name, value in result["notes"].items():
            print(f"    {name}: {value}", flush=True)


def spread(values: list[float]) -> str:
    from tools.benches.case import Spread

    return str(Spread(tuple(values)))


def machine() -> dict[str, object]:
    """What the figures depend on."""
    import torch

    return {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
    }


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    cli.run(main)
