"""What an evaluation found, as a table for a terminal, report.html, metrics.json and metrics.csv."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.cli.files import write_file
from tools.evaluation.comparison import (
    against_first,
    by_width,
    differences,
    every_mean,
    figure,
    first_checkpoint,
    measured,
    rivals,
)
from tools.evaluation.methods import Method
from tools.evaluation.report_page import as_html
from tools.evaluation.summary import MEASURES, Interval, Rows

ABOUT = (
    "Measured in pixels that are hidden in the flat picture itself and filled again; this is not a true second eye: "
    "make evaluate-stereo measures against one."
)
TERMINAL = ("hole_psnr", "hole_ssim", "hole_lpips", "hole_mae", "hole_tde", "hole_ewarp", "hole_tof", "psnr")


def write_report(out: Path, rows: Rows, methods: Sequence[Method], pictures, notes: Sequence[str], config) -> None:
    """Write the three files and print the table."""
    out.mkdir(parents=True, exist_ok=True)
    table = summary_table(rows, methods)
    print(ABOUT)
    print("\n".join(["  ".join(line) for line in aligned(table)]))
    print("means over clips inside holes; /frame: over the whole frame")
    for line in verdicts(rows, methods):
        print(line)
    for note in notes:
        print(f"note: {note}")
    found = as_json(rows, methods, notes, config)
    write_file(out / "metrics.json", (json.dumps(found, indent=1) + "\n").encode())
    write_file(out / "metrics.csv", as_csv(rows, methods).encode())
    write_file(out / "report.html", as_html(rows, methods, pictures, notes, config).encode())
    print(f"{out / 'report.html'}: {len(rows.clips)} clips, {len(methods)} ways of filling")


def summary_table(rows: Rows, methods: Sequence[Method]) -> list[list[str]]:
    """A line for each method: means, and the interval of the most telling one."""
    names = measured(rows, methods, TERMINAL)
    lines = [["", *(MEASURES[n].short for n in names), "ms/frame"]]
    for m in methods:
        cells = [f"{rows.mean(m.name, n).mean:.{MEASURES[n].digits}f}" for n in names]
        cells[0] = figure(rows.mean(m.name, names[0]), MEASURES[names[0]].digits)
        lines.append([m.name, *cells, f"{m.cost.milliseconds:.1f}" if m.cost.seconds else "–"])
    return lines


def verdicts(rows: Rows, methods: Sequence[Method]) -> list[str]:
    """How far each network is from the best simple fills, and from the first checkpoint, in PSNR, in words."""
    found = []
    for m in rivals(methods):
        for label, against in differences(rows, methods, m).get("hole_psnr", {}).items():
            gap = Interval(*(against[name] for name in ("mean", "low", "high", "clips")))
            found.append(f"{m.name}: {figure(gap, 2, '+')} dB in holes against {against['baseline']}, the {label}")
        if first := first_checkpoint(methods, m):
            gaps = {width: rows.difference(m.name, first.name, n) for width, n in by_width("hole_psnr").items()}
            said = ", ".join(f"{width}: {figure(gap, 2, '+')}" for width, gap in gaps.items())
            found.append(f"{m.name} against {first.name}, dB in holes by their width in px: {said}")
    return found


def aligned(table: list[list[str]]) -> list[list[str]]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        [cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(line, widths, strict=True))]
        for line in table
    ]


def as_json(rows: Rows, methods: Sequence[Method], notes: Sequence[str], config) -> dict[str, Any]:
    """Everything that was found; null where nothing was measured."""
    found = {"format": "backfill metrics", "version": 1, "config": asdict(config), "notes": list(notes), "methods": {}}
    for m in methods:
        found["methods"][m.name] = {
            "kind": m.kind,
            "parameters": m.parameters,
            "ms_per_frame": m.cost.milliseconds if m.cost.seconds else None,
            "peak_memory_bytes": m.cost.memory,
            "iw3": rows.iw3(m.name),
            "means": {n: asdict(found) for n, found in every_mean(rows, m.name).items()},
            "against_best_baseline": differences(rows, methods, m) if m in rivals(methods) else {},
            "against_first_checkpoint": against_first(rows, methods, m),
        }
    found["clips"] = [
        clip | {"measures": {m.name: rows.values[m.name][n] for m in methods}} for n, clip in enumerate(rows.clips)
    ]
    return without_nan(found)


def without_nan(value: Any) -> Any:
    """The same for JSON, which knows no nan."""
    if isinstance(value, dict):
        return {key: without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_csv(rows: Rows, methods: Sequence[Method]) -> str:
    """A line for each mean: method, measure, mean, low, high, clips."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "measure", "mean", "low", "high", "clips"])
    for m in methods:
        for name, found in every_mean(rows, m.name).items():
            numbers = ["" if math.isnan(v) else f"{v:.6g}" for v in (found.mean, found.low, found.high)]
            writer.writerow([m.name, name, *numbers, found.clips])
    return text.getvalue()
