"""Checks, measures and trains on one GPU within a number of minutes: `python tools/gpu --minutes 8 -o gpu`.

It needs no network. Each result is written at once as a JSON line, and the table at the end shows them all.
"""

import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if not __package__:  # run as a folder: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tools import cli
from tools.cli import UserError, plural
from tools.cli.machine import usable_cores

if TYPE_CHECKING:  # torch takes seconds to import, which --help must not wait for
    from tools.gpu.work import Row, Work

PARTS = {  # name: share of the time
    "a": 0.2,  # does the GPU compute what the CPU does
    "b": 0.35,  # how fast is training
    "c": 0.15,  # how fast are stereo films and packing
    "d": 0.3,  # what does a training of some minutes gain
}


@dataclass(frozen=True)
class Config:
    """Check, measure and train on one GPU, in some minutes and without a network."""

    ALIASES: ClassVar = {"out": ("-o",), "data": ("-i",)}
    minutes: float = 8.0  # time for all parts; a part that has used its share starts nothing more
    out: str = "gpu"  # folder for results.jsonl, the trained network and the data of the parts
    parts: tuple[str, ...] = ("a", "b", "c", "d")  # a: same results as the CPU, b: speed and memory of training,
    # c: speed of stereo films and packing, d: training of the checkpoint
    videos: tuple[str, ...] = ("clips",)  # films: files, folders or globs; the last one that gives records is for
    # evaluation alone
    data: str = ""  # folder with the splits train/ and eval/ (default: packed from the videos into OUT/data)
    checkpoint: str = "base"  # network that is checked, and trained further
    device: str = "auto"  # auto, cpu or cuda
    tiny: bool = False  # the smallest sizes, to test the command itself

    def __post_init__(self):
        if unknown := [part for part in self.parts if part not in PARTS]:
            raise UserError(f"--parts {unknown[0]}: expected some of {' '.join(PARTS)}")
        if not self.minutes > 0:
            raise UserError(f"--minutes {self.minutes}: expected more than 0")


def main() -> int:
    config = cli.parse(Config)
    started = time.monotonic()
    from tools.gpu import films, learning, parity, rates
    from tools.gpu.work import NO_TIME, Row

    work = prepare(config)
    work.end = started + 60 * config.minutes
    functions = {"a": parity.measure, "b": rates.measure, "c": films.measure, "d": learning.measure}
    for part, deadline in deadlines(config.parts, started, 60 * config.minutes).items():
        work.deadline = deadline
        began = time.monotonic()
        if work.is_over:
            work.add(Row(part, f"part {part}", failure=NO_TIME))
            continue
        work.attempt(part, "the part", functions[part], work)
        work.add(Row(part, f"part {part}", time.monotonic() - began, "s"))
    print("\n" + table(work.rows))
    missed = sum(row.ok is False for row in work.rows)
    print(f"{plural(missed, 'goal')} missed; results are in {work.folder / 'results.jsonl'}")
    return work.status


def deadlines(parts: tuple[str, ...], started: float, seconds: float) -> dict[str, float]:
    """When each part ends: the chosen parts share the time in proportion to PARTS."""
    chosen = [part for part in PARTS if part in parts]
    total, passed, ends = sum(PARTS[part] for part in chosen), 0.0, {}
    for part in chosen:
        passed += PARTS[part]
        ends[part] = started + seconds * passed / total
    return ends


def prepare(config: Config) -> "Work":
    """The run, its folder made and the machine written down. Raises UserError for what it lacks."""
    import torch

    from model.device import choose_device, has_bf16
    from pack.sources import find_videos
    from tools.gpu.work import Row, Work

    device = choose_device(config.device)
    folder = Path(config.out).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    videos = tuple(Path(video).resolve() for video in find_videos(config.videos))
    data = Path(config.data).resolve() if config.data else folder / "data"
    work = Work(device, folder, data, videos, config.checkpoint, config.tiny)
    notes = {"torch": torch.__version__, "python": platform.python_version(), "cores": usable_cores()}
    name = device.type
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name = properties.name
        notes |= {"memory_gib": round(properties.total_memory / 2**30, 1), "cuda": str(torch.version.cuda)}
    work.add(Row("-", name, notes=notes | {"bf16": has_bf16(device)}))
    return work


def table(rows: "list[Row]") -> str:
    """All rows, their columns aligned."""
    from tools.gpu.work import cells

    lines = [["part", "what", "found", "goal", "", "notes"], *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


if __name__ == "__main__":
    cli.run(main)
