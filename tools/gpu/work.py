"""What the parts of `make gpu` share: the device, the time that is left, the rows of results."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from tools.cli import UserError, one_line
from tools.cli.files import append_line
from tools.cli.program import users_line
from tools.cli.signals import deferred
from train.config import Config
from train.optimizers.recipe import precision

ROOT = Path(__file__).resolve().parents[2]
HOUR = 3600.0  # seconds; of --tiny, whose programs must end also on a machine that others use
NO_TIME = "no time is left: pass more --minutes, or fewer --parts"
GRACE = 40  # seconds from SIGTERM to SIGKILL


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
    status: int = 0  # exit status of the program: 2 after an error of the user's, 1 after a bug

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

    def attempt(self, part: str, what: str, act: Callable[..., object], *args: object) -> bool:
        """Whether the act ran to its end; what it raises becomes a row, so that it costs no other result."""
        try:
            act(*args)
        except Exception as error:
            if line := users_line(error):
                print(f"error: part {part}, {what}: {line}", file=sys.stderr, flush=True)
            else:
                traceback.print_exc()
            self.add(Row(part, what, failure=(line or one_line(error) or type(error).__name__)[:300]))
            self.status = 2 if line and self.status != 1 else 1
            return False
        return True

    def attempt_all(self, part: str, acts: Mapping[str, Callable[["Work"], object]]) -> None:
        """Run the acts by their names, in turn; none starts when the part has used its share of the time."""
        for what, act in acts.items():
            if self.is_over:
                self.add(Row(part, what, failure=NO_TIME))
            else:
                self.attempt(part, what, act, self)

    def run(self, *words: object, seconds: float | None = None) -> str:
        """The output of a program of this repository: see `run_program`.

        Unless `seconds` says otherwise, it is ended after half of the time that is left, which others need.
        """
        half = HOUR if self.tiny else min(max((self.end - time.monotonic()) / 2, 60), 600)
        return run_program(*words, seconds=half if seconds is None else seconds)

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
    goal = "" if row.goal is None else f"<= {row.goal:.3g}"
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


def run_program(*words: object, seconds: float) -> str:
    """The output of a program of this repository. Raises UserError, with its last lines, when it fails or hangs.

    After `seconds` it is sent SIGTERM, upon which a training ends with a checkpoint.
    """
    process, late = None, ""
    try:
        with deferred():
            process = subprocess.Popen(
                [sys.executable, *map(str, words)], cwd=ROOT, env=os.environ.copy(), text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        out, _ = process.communicate(timeout=max(seconds, 1))
    except subprocess.TimeoutExpired:
        late = f" after {seconds:.0f} s, which was all of its time"
        process.terminate()
        try:
            out, _ = process.communicate(timeout=GRACE)
        except subprocess.TimeoutExpired:
            _kill(process)
            out, _ = process.communicate()
    finally:
        if process:
            _kill(process)
    if process.returncode:
        last = one_line(" | ".join(out.strip().splitlines()[-3:]))
        raise UserError(f"{words[0]} ended with status {process.returncode}{late}: {last[-600:]}")
    return out


def _kill(process):  # with its workers, which would hold its output open
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
