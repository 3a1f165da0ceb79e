"""What a comparison found, as a table for a terminal, metrics.json and report.html."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tools.cli import plural
from tools.cli.files import write_file
from tools.evaluation.methods import Method
from tools.evaluation.plots import COLOURS, bars
from tools.evaluation.report import print_table, without_nan
from tools.evaluation.report_page import html_table, moving_picture, whole_page
from tools.stereo_truth import tables
from tools.stereo_truth.classes import GROUPS, UNKNOWN
from tools.stereo_truth.compare import PERFECT, Case, Found, Shown
from tools.stereo_truth.measures import MEASURES, REGIONS
from tools.stereo_truth.shares import share_table, shares_as_json

if TYPE_CHECKING:
    from tools.stereo_truth.__main__ import Config

ABOUT = (
    "Measured against a true second eye: scenes are rendered from real pictures, or read from --pairs, with exact "
    "depth, so that the right eye, and which of its pixels the left eye does not show, are known. hole: pixels of the "
    "right eye that the left eye does not show; band: those at most 8 px from them, where halos appear; frame: all "
    "measured pixels."
)
AGAINST = "Networks against the best fill that sees one frame, dB of PSNR"


def write_report(out: Path, found: Found, methods: Sequence[Method], notes: Sequence[str], config: "Config") -> None:
    """Write metrics.json and report.html, and print the tables."""
    out.mkdir(parents=True, exist_ok=True)
    print(ABOUT)
    for depth, warp in tables.pairs(found):
        print_table(f"\n{depth} depth, {warp} warp:", tables.summary_table(found, depth, warp, methods))
    lines = share_table(found, shown_shares(found, methods), "uncovered")
    if len(lines) > 1:
        print_table("\nerror in uncovered pixels, and the share of it that fill, warp and depth have:", lines)
    print_table(f"\n{AGAINST}:", tables.verdict_table(found, methods))
    print()
    for note in notes:
        print(f"note: {note}")
    data = json.dumps(without_nan(as_json(found, methods, notes, config)), indent=1) + "\n"
    write_file(out / "metrics.json", data.encode())
    write_file(out / "report.html", as_html(found, methods, notes).encode())
    print(f"{out / 'report.html'}: {plural(len(found.rows.clips), 'scene')}, {plural(len(methods), 'way')} of filling")


def shown_shares(found: Found, methods: Sequence[Method]) -> list[str]:
    """The fills whose shares are printed: networks and the best fill that sees one frame."""
    depth, warp = tables.pairs(found)[0]
    simple = [m.name for m in methods if m.kind == "one frame"]
    best = [name for name in tables.ranked(found, depth, warp, "uncovered_psnr") if name in simple][:1]
    return [m.name for m in methods if m.kind == "network"] + best


def as_json(found: Found, methods: Sequence[Method], notes: Sequence[str], config: "Config") -> dict[str, Any]:
    """Everything that was found; nan where nothing was measured."""
    names = list(dict.fromkeys(n for rows in found.rows.values.values() for row in rows for n in row))
    return {
        "format": "backfill stereo metrics",
        "version": 1,
        "about": ABOUT,
        "config": asdict(config),
        "notes": list(notes),
        "methods": {m.name: {"kind": m.kind, "parameters": m.parameters} for m in methods},
        "cases": [
            asdict(case) | {"means": {n: asdict(tables.mean(found, case, n)) for n in names}} for case in found.cases
        ],
        "shares": shares_as_json(found),
        "scenes": [
            clip | {"measures": {str(case): found.rows.values[str(case)][n] for case in found.cases}}
            for n, clip in enumerate(found.rows.clips)
        ],
    }


def as_html(found: Found, methods: Sequence[Method], notes: Sequence[str]) -> str:
    """One page that needs no other file."""
    depth, warp = tables.pairs(found)[0]
    verdicts = tables.verdict_table(found, methods)
    parts = [
        "<h1>Against a true second eye</h1>",
        f"<p>{escape(ABOUT)}</p><p>{plural(len(found.rows.clips), 'scene')}. Numbers are means over scenes; brackets "
        f"are their 95 % intervals (paired bootstrap). “{escape(PERFECT)}” has the true colours in all holes: its "
        "remaining error comes from warp and depth.</p>",
        "".join(f"<p><small>{escape(note)}</small></p>" for note in notes),
        f"<h2>{AGAINST}</h2>{html_table(verdicts)}" if verdicts else "",
        *(chart(found, depth, warp, measure) for measure in ("uncovered_psnr", "band_psnr")),
        *(
            f"<h2>{escape(d)} depth, {escape(w)} warp</h2>{html_table(tables.full_table(found, d, w))}"
            for d, w in tables.pairs(found)
        ),
        shares_section(found),
        f"<h2>By width of the uncovered run, px at 1080p ({escape(depth)} depth), PSNR in dB</h2>",
        html_table(tables.width_table(found, depth, warp)),
        *(group_section(found, depth, warp, kind) for kind in GROUPS),
        "<h2>What is measured</h2>",
        *(f"<p><b>{escape(name)}</b>: {escape(about)}</p>" for name, about in definitions().items()),
        f"<h2>Where fills differ most ({escape(depth)} depth)</h2>",
        *(show(one) for one in found.shown),
    ]
    return whole_page("a true second eye", parts)


def definitions() -> dict[str, str]:
    """What each measure is, once for all regions."""
    return {measure.short: measure.about for measure in MEASURES.values()}


def chart(found: Found, depth: str, warp: str, measure: str) -> str:
    """Bars of a measure, best fill first."""
    names = tables.ranked(found, depth, warp, measure)
    colours = {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(tables.fills(found))}
    rows = [(name, tables.mean(found, Case(depth, warp, name), measure), colours[name]) for name in names]
    title = f"{MEASURES[measure].title} ({depth} depth, {warp} warp)"
    return f"<h2>{escape(title)}</h2>{bars(rows, MEASURES[measure].digits)}"


def shares_section(found: Found) -> str:
    """For every region the error of each case, and whose it is."""
    names = [name for name in tables.fills(found) if name not in tables.NOT_RANKED]
    sections = []
    for region, title in REGIONS.items():
        table = share_table(found, names, region)
        if len(table) > 1:
            sections.append(f"<h3>{escape(title)}</h3>{html_table(table)}")
    if not sections:
        return ""
    about = (
        "<p>Mean squared error (of 1). With exact depth: fill is the error in filled pixels, warp the error in all "
        "others. Depth is the increase of the error with another depth; below 0 it decreases.</p>"
    )
    return f"<h2>Whose error it is</h2>{about}{''.join(sections)}"


def group_section(found: Found, depth: str, warp: str, kind: str) -> str:
    if found.rows.groups(kind) == [UNKNOWN]:
        return ""
    title = f"PSNR in uncovered pixels, {GROUPS[kind]} ({depth} depth; scenes in brackets)"
    return f"<h2>{escape(title)}</h2>{html_table(tables.group_table(found, depth, warp, kind))}"


def show(one: Shown) -> str:
    """A scene as moving pictures."""
    figures = "".join(
        f"<figure><img src='{moving_picture(to_float(pixels))}' alt='{escape(name)}'>"
        f"<figcaption>{escape(name)}</figcaption></figure>"
        for name, pixels in one.pictures.items()
    )
    return f"<h3>{escape(one.name)}: {one.gap:.1f} dB between the best and the worst</h3>{figures}"


def to_float(pixels: np.ndarray) -> torch.Tensor:  # uint8 (T H W 3) -> float (T 3 H W)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
