"""What an evaluation found, as a table for a terminal, report.html, metrics.json and metrics.csv."""

import base64
import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from pack.shard import write_file
from tools.methods import Method
from tools.plots import COLOURS, bars, lines
from tools.summary import MEASURES, WIDTHS, Interval, Rows
from train.metrics import as_uint8

TERMINAL = ("hole_psnr", "hole_ssim", "hole_lpips", "hole_mae", "hole_tde", "hole_ewarp", "hole_tof", "psnr")
BY_WIDTH = ("hole_psnr", "hole_ssim", "hole_mae")
SIMPLE = ("one frame", "several frames")  # kinds of methods that are baselines
STYLE = """body{font:15px/1.5 sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;font-size:13px;margin:.5em 0}td,th{padding:3px 9px;border-bottom:1px solid #ddd;
text-align:right}td:first-child,th:first-child{text-align:left}small{color:#666}
figure{display:inline-block;margin:3px;width:224px}figure img{width:100%;image-rendering:pixelated}
figcaption{font-size:12px}.wide{overflow-x:auto}"""


def write_report(out: Path, rows: Rows, methods: Sequence[Method], pictures, notes: Sequence[str], config) -> None:
    """Write the three files and print the table."""
    out.mkdir(parents=True, exist_ok=True)
    table = summary_table(rows, methods)
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


def measured(rows: Rows, methods: Sequence[Method], names: Sequence[str] = tuple(MEASURES)) -> list[str]:
    """Those of the measures that some method has."""
    return [n for n in names if any(not math.isnan(rows.mean(m.name, n).mean) for m in methods)]


def best_simple(rows: Rows, methods: Sequence[Method], measure: str, kinds: Sequence[str] = SIMPLE) -> str | None:
    return rows.best([m.name for m in methods if m.kind in kinds], measure)


def rivals(methods: Sequence[Method]) -> list[Method]:
    """What is compared with the best simple fill: the networks."""
    return [m for m in methods if m.kind not in SIMPLE]


def figure(found: Interval, digits: int, sign: str = "") -> str:
    """A mean with its interval."""
    if math.isnan(found.mean):
        return "–"
    text = f"{found.mean:{sign}.{digits}f}"
    return text if math.isnan(found.low) else f"{text} [{found.low:{sign}.{digits}f}, {found.high:{sign}.{digits}f}]"


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
    """How far each network is from the best simple fills in PSNR, in words."""
    found = []
    for m in rivals(methods):
        for label, against in differences(rows, methods, m).get("hole_psnr", {}).items():
            gap = Interval(*(against[name] for name in ("mean", "low", "high", "clips")))
            found.append(f"{m.name}: {figure(gap, 2, '+')} dB in holes against {against['baseline']}, the {label}")
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
        }
    found["clips"] = [
        clip | {"measures": {m.name: rows.values[m.name][n] for m in methods}} for n, clip in enumerate(rows.clips)
    ]
    return without_nan(found)


def differences(rows: Rows, methods: Sequence[Method], method: Method) -> dict[str, Any]:
    """By measure the best simple fills of one frame and of all, and how far the method is from them."""
    found = {}
    for n in measured(rows, methods):
        for label, kinds in (("best simple fill", SIMPLE), ("best that sees one frame", SIMPLE[:1])):
            if other := best_simple(rows, methods, n, kinds):
                found.setdefault(n, {})[label] = {"baseline": other, **asdict(rows.difference(method.name, other, n))}
    return found


def every_mean(rows: Rows, method: str) -> dict[str, Interval]:
    """The means of all clips, of classes of widths, and of groups, by a name that says which."""
    names = list(dict.fromkeys(n for row in rows.values[method] for n in row if not n.startswith("iw3_")))
    found = {n: rows.mean(method, n) for n in names}
    for kind in ("video", "motion"):
        for group in rows.groups(kind):
            found |= {f"{n} of {kind} {group}": rows.mean(method, n, {kind: group}) for n in MEASURES if n in found}
    return found


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


def as_html(rows: Rows, methods: Sequence[Method], pictures, notes: Sequence[str], config) -> str:
    """One page that needs no other file."""
    colours = {m.name: COLOURS[n % len(COLOURS)] for n, m in enumerate(methods)}
    psnr = MEASURES["hole_psnr"]
    parts = [
        f"<h1>{escape(config.data)}</h1><p>{len(rows.clips)} clips of {escape(', '.join(rows.groups('video')))}. "
        "Brackets hold 95 % of the means of clips drawn again (paired bootstrap).</p>",
        "".join(f"<p><small>{escape(note)}</small></p>" for note in notes),
        f"<h2>{psnr.title}</h2>",
        bars([(m.name, rows.mean(m.name, "hole_psnr"), colours[m.name]) for m in methods], psnr.digits),
        "<h2>Against the best simple fill</h2>",
        html_table(difference_table(rows, methods)),
        "<h2>By width of the hole (px at 1080p)</h2>",
        width_plot(rows, methods, colours),
        *(f"<h3>{MEASURES[n].title}</h3>{html_table(width_table(rows, methods, n))}" for n in BY_WIDTH),
        "<h2>All measures</h2>",
        html_table(full_table(rows, methods)),
        *(f"<h2>{psnr.title}, by {k}</h2>{html_table(group_table(rows, methods, k))}" for k in ("video", "motion")),
        "<h2>Cost, and what iw3's benchmark prints</h2>",
        html_table(cost_table(rows, methods)),
        "<h2>What is measured</h2>",
        *(f"<p><b>{MEASURES[n].title}</b>: {escape(MEASURES[n].about)}</p>" for n in measured(rows, methods)),
        "<h2>Pictures</h2>",
        *(show(key, outputs) for key, outputs in pictures),
    ]
    head = f"<meta charset='utf-8'><title>Backfill: {escape(config.data)}</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def html_table(table: list[list[str]]) -> str:
    head, *lines = ["".join(f"<td>{escape(cell)}</td>" for cell in line) for line in table]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<div class='wide'><table><tr>{head.replace('td>', 'th>')}</tr>{body}</table></div>"


def difference_table(rows: Rows, methods: Sequence[Method]) -> list[list[str]]:
    table = [["measure", "best simple fill", *(m.name for m in rivals(methods))]]
    for n in measured(rows, methods):
        other = best_simple(rows, methods, n)
        if other:
            cells = [figure(rows.difference(m.name, other, n), MEASURES[n].digits, "+") for m in rivals(methods)]
            table.append([MEASURES[n].title, other, *cells])
    return table


def width_plot(rows: Rows, methods: Sequence[Method], colours: dict[str, str]) -> str:
    groups = list(WIDTHS)
    return lines(
        groups,
        {
            m.name: ([rows.mean(m.name, f"hole_psnr of {g}") for g in groups], colours[m.name])
            for m in methods
            if m.name != "empty"
        },
    )


def width_table(rows: Rows, methods: Sequence[Method], measure: str) -> list[list[str]]:
    groups = list(WIDTHS)
    digits = MEASURES[measure].digits
    lines = [[m.name, *(figure(rows.mean(m.name, f"{measure} of {g}"), digits) for g in groups)] for m in methods]
    return [["method", *groups], *lines]


def full_table(rows: Rows, methods: Sequence[Method]) -> list[list[str]]:
    names = measured(rows, methods)
    lines = [[m.name, *(figure(rows.mean(m.name, n), MEASURES[n].digits) for n in names)] for m in methods]
    return [["method", *(MEASURES[n].title for n in names)], *lines]


def group_table(rows: Rows, methods: Sequence[Method], kind: str) -> list[list[str]]:
    groups = rows.groups(kind)
    return [
        ["method", *groups],
        *([m.name, *(figure(rows.mean(m.name, "hole_psnr", {kind: g}), 2) for g in groups)] for m in methods),
    ]


def cost_table(rows: Rows, methods: Sequence[Method]) -> list[list[str]]:
    table = [["method", "ms a frame", "parameters", "peak memory, MB", "iw3 PSNR image", "iw3 PSNR mask region"]]
    for m in methods:
        memory = "–" if m.cost.memory is None else f"{m.cost.memory / 1e6:.0f}"
        iw3 = rows.iw3(m.name)
        cost = f"{m.cost.milliseconds:.1f}" if m.cost.seconds else "–"
        table.append([m.name, cost, f"{m.parameters:,}", memory, f"{iw3['psnr']:.2f}", f"{iw3['hole_psnr']:.2f}"])
    return table


def show(key: str, outputs: dict[str, Any]) -> str:
    """A clip as moving pictures, so that flicker is seen."""
    figures = "".join(
        f"<figure><img src='{moving_picture(frames)}' alt='{escape(name)}'><figcaption>{escape(name)}"
        "</figcaption></figure>"
        for name, frames in outputs.items()
    )
    return f"<h3>{escape(key)}</h3>{figures}"


def moving_picture(frames) -> str:  # float (T 3 H W) -> a data URI
    images = [Image.fromarray(picture.numpy()) for picture in as_uint8(frames)]
    data = io.BytesIO()
    images[0].save(data, "WEBP", save_all=True, append_images=images[1:], duration=120, loop=0, quality=85)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
