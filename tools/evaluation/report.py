"""The results of an evaluation: a table in the terminal, report.html, metrics.json and metrics.csv."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.cli import plural
from tools.cli.files import write_file
from tools.evaluation.comparison import (
    BASELINE_KINDS,
    against_baselines,
    against_first,
    best_baseline,
    by_width,
    every_mean,
    figure,
    first_checkpoint,
    group_table,
    measured,
    networks,
)
from tools.evaluation.methods import Method
from tools.evaluation.report_page import Picture, as_html
from tools.evaluation.summary import MEASURES, Rows

ABOUT = (
    "The holes were cut into the source view, whose own pixels are the ground truth; "
    "make evaluate-stereo compares with a true second eye."
)
TERMINAL = ("hole_psnr", "hole_ssim", "hole_lpips", "hole_mae", "hole_tde", "hole_ewarp", "hole_tof", "psnr")


def write_report(
    out: Path,
    rows: Rows,
    methods: Sequence[Method],
    pictures: Sequence[Picture],
    notes: Sequence[str],
    settings: Mapping[str, Any],
) -> None:
    """Write the three files into the folder `out` and print the table; `settings` are those of tools/evaluate.py."""
    out.mkdir(parents=True, exist_ok=True)
    print_table(ABOUT, summary_table(rows, methods))
    print("means over clips, inside holes; columns with /frame: over the whole frame")
    for name, title in (("kind", "kind of holes"), ("placement", "placement of holes")):
        if len(rows.groups(name)) > 1:
            print_table(f"PSNR in holes by {title}", group_table(rows, methods, name, "hole_psnr"))
    print_table("difference in PSNR in holes, dB, from", baseline_table(rows, methods))
    print_table("difference in PSNR in holes, dB, by width of the hole, and in TDE", checkpoint_table(rows, methods))
    for note in notes:
        print(f"note: {note}")
    found = as_json(rows, methods, notes, settings)
    write_file(out / "metrics.json", (json.dumps(found, indent=1) + "\n").encode())
    write_file(out / "metrics.csv", as_csv(rows, methods).encode())
    write_file(out / "report.html", as_html(rows, methods, pictures, notes, settings["data"]).encode())
    print(f"{out / 'report.html'}: {plural(len(rows.clips), 'clip')}, {plural(len(methods), 'method')}")


def print_table(title: str, table: list[list[str]]) -> None:
    """Print a table in columns below its title, unless it is empty."""
    if table:
        print(title, *("  ".join(line) for line in aligned(table)), sep="\n")


def summary_table(rows: Rows, methods: Sequence[Method]) -> list[list[str]]:
    """A line for each method: its means, and the interval of the first one."""
    names = measured(rows, methods, TERMINAL)
    lines = [["", *(MEASURES[n].short for n in names), "ms/frame"]]
    for m in methods:
        cells = [f"{rows.mean(m.name, n).mean:.{MEASURES[n].digits}f}" for n in names]
        cells[0] = figure(rows.mean(m.name, names[0]), MEASURES[names[0]].digits)
        lines.append([m.name, *cells, f"{m.cost.milliseconds:.1f}" if m.cost.seconds else "–"])
    return lines


def baseline_table(rows: Rows, methods: Sequence[Method]) -> list[list[str]]:
    """A line for each network: its difference in PSNR in holes from the best baselines. Empty without baselines."""
    best: dict[str, str] = {}  # of all, and of those that see one frame, which may be the same
    for kinds, title in ((BASELINE_KINDS, "the best baseline"), (BASELINE_KINDS[:1], "the best that sees one frame")):
        if name := best_baseline(rows, methods, "hole_psnr", kinds):
            best.setdefault(name, title)
    lines = [["", *(f"{name}, {title}" for name, title in best.items())]]
    for m in networks(methods):
        lines.append([m.name, *(figure(rows.difference(m.name, name, "hole_psnr"), 2, "+") for name in best)])
    return lines if best else []


def checkpoint_table(rows: Rows, methods: Sequence[Method]) -> list[list[str]]:
    """A column for each checkpoint but the first: its difference from that one by hole width. Empty for one alone."""
    pairs = [(m.name, first.name) for m in methods if (first := first_checkpoint(methods, m))]
    lines = [["width, px", *(f"{name} against {first}" for name, first in pairs)]]
    for width, measure in by_width("hole_psnr").items():
        lines.append([width, *(figure(rows.difference(*pair, measure), 2, "+") for pair in pairs)])
    digits = MEASURES["hole_tde"].digits
    lines.append(["TDE, all", *(figure(rows.difference(*pair, "hole_tde"), digits, "+") for pair in pairs)])
    return lines if pairs else []


def aligned(table: list[list[str]]) -> list[list[str]]:
    """The cells padded to the widths of their columns; numbers are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        [cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(line, widths, strict=True))]
        for line in table
    ]


def as_json(rows: Rows, methods: Sequence[Method], notes: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The content of metrics.json; null where nothing was measured."""
    clips = [
        clip | {"measures": {m.name: rows.values[m.name][n] for m in methods}} for n, clip in enumerate(rows.clips)
    ]
    return without_nan(
        {
            "format": "backfill metrics",
            "version": 1,
            "config": dict(settings),
            "notes": list(notes),
            "methods": {m.name: method_as_json(rows, methods, m) for m in methods},
            "clips": clips,
        }
    )


def method_as_json(rows: Rows, methods: Sequence[Method], method: Method) -> dict[str, Any]:
    """One method's part of metrics.json."""
    return {
        "kind": method.kind,
        "parameters": method.parameters,
        "ms_per_frame": method.cost.milliseconds if method.cost.seconds else None,
        "peak_memory_bytes": method.cost.memory,
        "broken_clips": len(rows.broken.get(method.name, [])),
        "iw3": rows.iw3(method.name),
        "means": {n: asdict(found) for n, found in every_mean(rows, method.name).items()},
        "against_best_baseline": against_baselines(rows, methods, method) if method in networks(methods) else {},
        "against_first_checkpoint": against_first(rows, methods, method),
    }


def without_nan(value: Any) -> Any:
    """The value with null instead of nan and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_csv(rows: Rows, methods: Sequence[Method]) -> str:
    """The content of metrics.csv: a line for each mean, with its interval and number of clips."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "measure", "mean", "low", "high", "clips"])
    for m in methods:
        for name, found in every_mean(rows, m.name).items():
            numbers = ["" if math.isnan(v) else f"{v:.6g}" for v in (found.mean, found.low, found.high)]
            writer.writerow([m.name, name, *numbers, found.clips])
    return text.getvalue()
