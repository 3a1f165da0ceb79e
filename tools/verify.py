"""Checks shards against their indexes, and reports for every fault where it is and what fixes it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli
from tools.cli import UserError, plural

if TYPE_CHECKING:
    from tools.inspection.shard_checks import Report


@dataclass(frozen=True)
class Config:
    """Check every shard of the given splits against its index; the exit status is 1 when there is a fault."""

    ALIASES: ClassVar = {"data": ("-i",)}
    data: tuple[str, ...] = ("data/train", "data/eval")  # splits to check
    fast: bool = False  # check only indexes and file sizes, without reading tars
    workers: int = 0  # number of processes that read and decode (0: one per core)

    def __post_init__(self):
        if self.workers < 0:
            raise UserError(f"--workers {self.workers}: expected 0 (one per core) or more")


def main() -> int:
    config = cli.parse(Config)
    from tools.inspection.shard_checks import check_splits  # imports numpy

    reports = check_splits([Path(folder) for folder in config.data], config.fast, config.workers or None)
    print_table(reports)
    faults = [fault for report in reports for fault in report.faults]
    for fault in faults:
        print(f"fault: {fault}")
    return 1 if faults else 0


def print_table(reports: "list[Report]") -> None:
    """One line per shard, and one for all of them."""
    from tools.inspection.shard_checks import Report

    whole = Report(
        f"{len(reports)} in total",
        tuple(fault for report in reports for fault in report.faults),
        tuple(key for report in reports for key in report.keys),
        sum(report.bytes for report in reports),
        tuple(holes for report in reports for holes in report.holes),
    )
    width = max(len(report.name) for report in [*reports, whole])
    print(f"{'shard':{width}} {'records':>8} {'bytes':>14}  {'holes %: min':>12} {'mean':>6} {'max':>6}  status")
    for report in [*reports, whole]:
        holes = report.holes
        shares = (min(holes), sum(holes) / len(holes), max(holes)) if holes else ()
        low, mean, high = (f"{share:.2f}" for share in shares) if shares else "---"
        status = plural(len(report.faults), "fault") if report.faults else "ok"
        print(f"{report.name:{width}} {len(report.keys):8} {report.bytes:14}  {low:>12} {mean:>6} {high:>6}  {status}")


if __name__ == "__main__":
    cli.run(main)
