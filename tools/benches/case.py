"""What a case of the benchmark is, and how it is run: ours and a plain reference in turn, or a figure several times."""

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

from tools.cli import UserError

ROOT = Path(__file__).resolve().parents[2]
CLIPS = tuple(ROOT / "clips" / name for name in ("bigbuckbunny.mp4", "bikes.mp4"))  # what real footage is taken from


@dataclass(frozen=True)
class Goal:
    """What is to be reached: at least this value, or at most."""

    value: float
    unit: str = "x"
    at_most: bool = False

    def reached(self, found: float) -> bool:
        return found <= self.value if self.at_most else found >= self.value


@dataclass(frozen=True)
class Workplace:
    """Where a case works. What `stack` has entered is closed when the case is over."""

    folder: Path  # kept from run to run, so that data is made once
    stack: ExitStack
    tiny: bool = False  # as small as it can be, for a test of the case itself

    @property
    def clips(self) -> tuple[Path, ...]:
        return CLIPS[1:] if self.tiny else CLIPS


@dataclass(frozen=True)
class Race:
    """Ours against a reference. `check` raises AssertionError where they do not give the same."""

    ours: Callable[[], object]
    reference: Callable[[], object]
    check: Callable[[], None]
    count: int  # how many things one call makes
    unit: str  # and what these are called
    reference_count: int = 0  # how many a call of the reference makes, where that differs
    notes: dict[str, Any] = field(default_factory=dict)  # what else is worth knowing, such as shares of the time


@dataclass(frozen=True)
class Gauge:
    """A figure without a reference."""

    measure: Callable[[], float]
    check: Callable[[], None] = lambda: None
    unit: str = "%"  # of the figure, where no goal says it
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """Something that is to be fast. A Race's ratio is of wall-clock times: that of the reference by ours."""

    name: str
    what: str  # "ours against the reference", in a few words
    goal: Goal | None
    prepare: Callable[[Workplace], Race | Gauge]
    most_rounds: int = 99  # of a slow case


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing, in their order."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{self.median:.3g} ({min(self.values):.3g}-{max(self.values):.3g})"


@dataclass(frozen=True)
class Result:
    """What a case came to. `found` is the ratio of a Race and the figure of a Gauge, which has no seconds."""

    name: str
    what: str
    goal: Goal | None
    found: Spread
    unit: str  # of the seconds, "s/frame", or of the figure
    cpu_ratio: Spread | None
    seconds: dict[str, Spread]  # of "ours", "reference", "ours cpu" and "reference cpu", for one unit
    notes: dict[str, Any]

    @property
    def reached(self) -> bool | None:
        return self.goal and self.goal.reached(self.found.median)

    def as_json(self) -> dict[str, Any]:
        fields = asdict(self) | {"reached": self.reached, "median": self.found.median}
        return {name: _plain(value) for name, value in fields.items()}


def run_case(case: Case, folder: Path, rounds: int, tiny: bool = False) -> Result:
    """Check the case, then measure it. Raises AssertionError where the reference gives something else than ours."""
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
    """Seconds on the clock, and of all cores that this process and its children used, for one of so many things."""
    started, cpu = time.perf_counter(), cpu_seconds()
    work()
    return (time.perf_counter() - started) / count, (cpu_seconds() - cpu) / count


def cpu_seconds() -> float:
    """Seconds of a core that this process, the children that ended and (on Linux) those that live have used."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + _cpu_of_children(os.getpid())


def _cpu_of_children(parent: int) -> float:
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = path.read_text().partition(" (")
        except OSError:  # it has just ended
            continue
        words = rest.rpartition(") ")[2].split()
        stats[int(pid)] = int(words[1]), sum(map(int, words[11:15]))  # parent; user, system and those of its children
    family = {parent}
    while more := {pid for pid, (above, _) in stats.items() if above in family} - family:
        family |= more
    return sum(stats[pid][1] for pid in family - {parent}) / os.sysconf("SC_CLK_TCK")


def run_program(words: Sequence[object], cores: int | None = None, **environment: str) -> str:
    """What a program of ours prints; on the first so many cores, where told.

    Raises UserError with what it wrote on stderr where it fails.
    """

    def settle() -> None:
        if cores:
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])

    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, env=os.environ | environment, preexec_fn=settle,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        raise UserError(f"{' '.join(map(str, words))} failed: {done.stdout[-2000:]}")
    return done.stdout


def peak_memory() -> int:
    """The most bytes that this process has held so far.

    Not ru_maxrss where it can be helped: on Linux that starts with what the parent held when it forked.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        values = value.get("values")
        return list(values) if values is not None else {name: _plain(item) for name, item in value.items()}
    return value
