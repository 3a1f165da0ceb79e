"""Comparisons between methods: which one is the best, which ones are compared, by how much they differ."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tools.evaluation.methods import Method
from tools.evaluation.summary import MEASURES, WIDTHS, Interval, Rows

BASELINE_KINDS = ("one frame", "several frames")  # of methods
CHECKPOINT_KINDS = ("network", "stream")  # of methods
GROUPED = ("hole_psnr", "hole_ssim", "hole_mae", "hole_tde")  # measures that are shown by width, motion and video


def measured(rows: Rows, methods: Sequence[Method], names: Sequence[str] = tuple(MEASURES)) -> list[str]:
    """The measures, of these names, that at least one method has."""
    return [n for n in names if any(not math.isnan(rows.mean(m.name, n).mean) for m in methods)]


def best_baseline(
    rows: Rows, methods: Sequence[Method], measure: str, kinds: Sequence[str] = BASELINE_KINDS
) -> str | None:
    """The baseline of these kinds with the best mean, None where nothing was measured."""
    return rows.best([m.name for m in methods if m.kind in kinds], measure)


def networks(methods: Sequence[Method]) -> list[Method]:
    """The methods that are compared with the best baseline: trained and untrained networks."""
    return [m for m in methods if m.kind not in BASELINE_KINDS]


def against_baselines(rows: Rows, methods: Sequence[Method], method: Method) -> dict[str, Any]:
    """By measure, the difference of a method to the best baseline and to the best one that sees a single frame."""
    found: dict[str, Any] = {}
    for n in measured(rows, methods):
        for label, kinds in (("best simple fill", BASELINE_KINDS), ("best that sees one frame", BASELINE_KINDS[:1])):
            if other := best_baseline(rows, methods, n, kinds):
                found.setdefault(n, {})[label] = {"baseline": other, **asdict(rows.difference(method.name, other, n))}
    return found


def first_checkpoint(methods: Sequence[Method], method: Method) -> Method | None:
    """The first of several checkpoints, used in the same way; None for itself and for other methods."""
    first = next(m for m in methods if m.kind == method.kind)
    return first if method.kind in CHECKPOINT_KINDS and first is not method else None


def by_width(measure: str) -> dict[str, str]:
    """The names of a measure by width class: over all holes, and over the holes of each class."""
    return {"all": measure} | {width: f"{measure} of {width}" for width in WIDTHS}


def against_first(rows: Rows, methods: Sequence[Method], method: Method) -> dict[str, Any]:
    """The difference of a checkpoint to the first one, by measure and width class; empty where there is none."""
    if not (first := first_checkpoint(methods, method)):
        return {}
    names = [name for measure in GROUPED for name in by_width(measure).values()]
    return {"checkpoint": first.name, **{n: asdict(rows.difference(method.name, first.name, n)) for n in names}}


def every_mean(rows: Rows, method: str) -> dict[str, Interval]:
    """The means over all clips, each width class, and each video, motion, kind and placement of holes, by name."""
    names = list(dict.fromkeys(n for row in rows.values[method] for n in row if not n.startswith("iw3_")))
    found = {n: rows.mean(method, n) for n in names}
    for kind in ("video", "motion", "kind", "placement"):
        for group in rows.groups(kind):
            found |= {f"{n} of {kind} {group}": rows.mean(method, n, {kind: group}) for n in MEASURES if n in found}
    return found


def group_table(rows: Rows, methods: Sequence[Method], kind: str, measure: str) -> list[list[str]]:
    """A line for each method: the measure of each group."""
    groups, digits = rows.groups(kind), MEASURES[measure].digits
    return [
        ["method", *groups],
        *([m.name, *(figure(rows.mean(m.name, measure, {kind: g}), digits) for g in groups)] for m in methods),
    ]


def figure(found: Interval, digits: int, sign: str = "") -> str:
    """A mean with its interval, as text."""
    if math.isnan(found.mean):
        return "–"
    text = f"{found.mean:{sign}.{digits}f}"
    return text if math.isnan(found.low) else f"{text} [{found.low:{sign}.{digits}f}, {found.high:{sign}.{digits}f}]"
