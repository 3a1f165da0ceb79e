"""What the parts of `make gpu` share: the device, the time that is left, the rows of results."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from tools.cli import UserError, one_line
from tools.cli.files import append_line
from train.config import Config
from train.optimizers.recipe import precision

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Row:
    """One measurement: a line of results.jsonl and of the table."""

    part: str
    what: str
    found: float | None = None
    unit: str = ""
    goal: float | None = None  # at most
    failure: str = ""  # why nothing was measured, such as "out of memory"
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        if self.goal is None:
            return None
        return self.found is not None and self.found <= self.goal


@dataclass
class Work:
    """A run of `make gpu`."""

    device: torch.device
    folder: Path
    data: Path  # with the splits train/ and eval/
    videos: tuple[Path, ...]
    checkpoint: str
    tiny: bool  # the smallest sizes, to test the command itself
    deadline: float = float("inf")  # of the current part, of time.monotonic()
    end: float = float("inf")  # of all parts
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Write a row at once, so that an interruption leaves it."""
        self.rows.append(row)
        line = json.dumps({"time": time.strftime("%F %T"), **asdict(row), "ok": row.ok})
        append_line(self.folder / "results.jsonl", line)
        print(f"  {row.part}  {'  '.join(cells(row)[1:])}", flush=True)

    @property
    def seconds_left(self) -> float:
        """Seconds until the current part has to end."""
        return self.deadline - time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether the current part has used its share of the time, so that it starts nothing more."""
        return self.seconds_left < 0 and not self.tiny

    def best_batch(self) -> dict[str, Any]:
        """The notes of the fastest eager row of part b: batch, precision, sequences per second; empty without any.

        It is one in the precision that a training chooses, where there is any.
        """
        eager = [row.notes for row in self.rows if row.part == "b" and row.found and row.notes.get("mode") == "eager"]
        usual = [notes for notes in eager if notes["precision"] == precision(Config(), self.device)]
        return max(usual or eager, key=lambda notes: notes["sequences_per_second"], default={})


def cells(row: Row) -> list[str]:
    """The row as text: part, what, found, goal, verdict and notes, which begin with the reason of a failure."""
    measured = "" if row.found is None else f"{row.found:.4g} {row.unit}".strip()
    found = "failed" if row.failure else measured  # a reason is long, and would widen the column of all rows
    goal = "" if row.goal is None else f"<= {row.goal:g}"
    verdict = {True: "ok", False: "MISSED", None: ""}[row.ok]
    shown = [row.failure] if row.failure else []
    for name, value in row.notes.items():
        shown.append(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}")
    return [row.part, row.what, found, goal, verdict, ", ".join(shown)]


def settle(device: torch.device) -> None:
    """Wait until the device has finished what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(act: Callable[[], object], device: torch.device) -> float:
    """Seconds that the act takes until the device has finished."""
    settle(device)
    started = time.perf_counter()
    act()
    settle(device)
    return time.perf_counter() - started


def run_program(*words: object, seconds: float = 600.0) -> str:
    """The output of a program of this repository. Raises UserError, with its last lines, when it fails or hangs.

    After `seconds` it is sent SIGTERM, upon which a training ends with a checkpoint.
    """
    process = subprocess.Popen(
        [sys.executable, *map(str, words)], cwd=ROOT, env=os.environ.copy(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        out, _ = process.communicate(timeout=max(seconds, 1))
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            out, _ = process.communicate(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
    if process.returncode:
        last = one_line(" | ".join(out.strip().splitlines()[-3:]))
        raise UserError(f"{words[0]} ended with status {process.returncode}: {last[-600:]}")
    return out
