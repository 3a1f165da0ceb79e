"""A case of the benchmark and how it runs: ours and a plain reference in turns, or one number measured repeatedly."""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tools.cli import UserError, one_line

ROOT = Path(__file__).resolve().parents[2]
CLIPS = tuple(ROOT / "clips" / name for name in ("bigbuckbunny.mp4", "bikes.mp4"))  # real footage


@dataclass(frozen=True)
class Goal:
    """The value to reach: at least this value, or at most."""

    value: float
    unit: str = "x"
    at_most: bool = False

    def reached(self, found: float) -> bool:
        """Whether a measured value reaches the goal."""
        return found <= self.value if self.at_most else found >= self.value


@dataclass(frozen=True)
class Workplace:
    """Where a case works. `stack` is closed when the case has ended."""

    folder: Path  # kept between runs, so that data is made once
    stack: ExitStack
    tiny: bool = False  # use the smallest sizes, to test the case itself

    @property
    def clips(self) -> tuple[Path, ...]:
        return CLIPS[1:] if self.tiny else CLIPS


@dataclass(frozen=True)
class Race:
    """Ours against a reference. `check` raises AssertionError where their results differ."""

    ours: Callable[[], object]
    reference: Callable[[], object]
    check: Callable[[], None]
    count: int  # units of work in one call
    unit: str  # of work: "frame", "sample", ...
    reference_count: int = 0  # units of work in one call of the reference (0: the same)
    notes: dict[str, Any] = field(default_factory=dict)  # further facts to print, such as shares of the time


@dataclass(frozen=True)
class Gauge:
    """A number that is measured without a reference."""

    measure: Callable[[], float]
    check: Callable[[], None] = lambda: None
    unit: str = "%"  # of the number, for cases without a goal
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One step to benchmark. The ratio of a Race is the wall-clock time of the reference divided by ours."""

    name: str
    what: str  # description: ours / the reference
    goal: Goal | None
    prepare: Callable[[Workplace], Race | Gauge]
    most_rounds: int = 99  # limit for slow cases


@dataclass(frozen=True)
class Spread:
    """Several measurements of the same number, in their order."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{self.median:.3g} ({min(self.values):.3g}-{max(self.values):.3g})"


@dataclass(frozen=True)
class Result:
    """The result of a case. `found` is the ratio of a Race or the number of a Gauge, which has no seconds."""

    name: str
    what: str
    goal: Goal | None
    found: Spread
    unit: str  # of the seconds, such as "s/frame", or of the number
    cpu_ratio: Spread | None
    seconds: dict[str, Spread]  # of "ours", "reference", "ours cpu" and "reference cpu", per unit of work
    notes: dict[str, Any]

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the goal, None without a goal."""
        return self.goal.reached(self.found.median) if self.goal else None

    def as_json(self) -> dict[str, Any]:
        """The line of results.jsonl."""
        fields = asdict(self) | {"reached": self.reached, "median": self.found.median}
        return {name: _plain(value) for name, value in fields.items()}


def run_case(case: Case, folder: Path, rounds: int, tiny: bool = False) -> Result:
    """Check the case, then measure it. Raises AssertionError where ours and the reference differ."""
    folder.mkdir(parents=True, exist_ok=True)
    rounds = min(rounds, case.most_rounds)
    with ExitStack() as stack:
        work = case.prepare(Workplace(folder, stack, tiny))
        work.check()
        if isinstance(work, Gauge):
            found = Spread(tuple(work.measure() for _ in range(rounds)))
            return Result(case.name, case.what, case.goal, found, work.unit, None, {}, work.notes)
        many = work.reference_count or work.count
        turns = [(timed(work.ours, work.count), timed(work.reference, many)) for _ in range(rounds)]
        ours, reference = zip(*turns, strict=True)
        ratio, cpu_ratio = (Spread(tuple(b[i] / a[i] for a, b in turns)) for i in (0, 1))
        seconds = {
            f"{who}{kind}": Spread(tuple(turn[i] for turn in of))
            for who, of in (("ours", ours), ("reference", reference))
            for i, kind in enumerate(("", " cpu"))
        }
        return Result(case.name, case.what, case.goal, ratio, f"s/{work.unit}", cpu_ratio, seconds, work.notes)


def timed(work: Callable[[], object], count: int) -> tuple[float, float]:
    """Wall-clock seconds and CPU seconds of this process and its children, per unit of work."""
    started, cpu = time.perf_counter(), cpu_seconds()
    work()
    return (time.perf_counter() - started) / count, (cpu_seconds() - cpu) / count


def cpu_seconds() -> float:
    """CPU seconds of this process, of its ended children and (on Linux) of its running descendants."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + _cpu_of_children(os.getpid())


def _cpu_of_children(parent: int) -> float:
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = path.read_text().partition(" (")
        except OSError:  # the process has just ended
            continue
        words = rest.rpartition(") ")[2].split()
        stats[int(pid)] = int(words[1]), sum(map(int, words[11:15]))  # parent; user and system time with children
    family = {parent}
    while more := {pid for pid, (above, _) in stats.items() if above in family} - family:
        family |= more
    return sum(stats[pid][1] for pid in family - {parent}) / os.sysconf("SC_CLK_TCK")


def run_program(words: Sequence[object], cores: int | None = None, **environment: str) -> str:
    """The output of a program of this repository, restricted to the first `cores` cores if given.

    Raises UserError with its last line where it ends with status 2, RuntimeError with the end of its output when it
    fails otherwise.
    """

    def restrict() -> None:
        if cores:
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])

    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, env=os.environ | environment, preexec_fn=restrict,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode == 2:  # what a user can fix, as a full disk: its last line says how
        last = one_line((done.stdout.strip().splitlines() or [""])[-1])
        raise UserError(f"{words[0]} ended with status 2: {last[-600:]}")
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))} ended with status {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        values = value.get("values")
        return list(values) if values is not None else {name: _plain(item) for name, item in value.items()}
    return value
