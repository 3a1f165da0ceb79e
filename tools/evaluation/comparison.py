"""What evaluation says of ways of filling beside each other: the best, who is compared with whom, means of groups."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tools.evaluation.methods import Method
from tools.evaluation.summary import MEASURES, WIDTHS, Interval, Rows

SIMPLE = ("one frame", "several frames")  # kinds of methods that are baselines
TRAINED = ("network", "stream")  # kinds of methods that are checkpoints
SPLIT = ("hole_psnr", "hole_ssim", "hole_mae", "hole_tde")  # measures that are shown by width, motion and video


def measured(rows: Rows, methods: Sequence[Method], names: Sequence[str] = tuple(MEASURES)) -> list[str]:
    """Those of the measures that some method has."""
    return [n for n in names if any(not math.isnan(rows.mean(m.name, n).mean) for m in methods)]


def best_simple(rows: Rows, methods: Sequence[Method], measure: str, kinds: Sequence[str] = SIMPLE) -> str | None:
    return rows.best([m.name for m in methods if m.kind in kinds], measure)


def rivals(methods: Sequence[Method]) -> list[Method]:
    """What is compared with the best simple fill: the networks."""
    return [m for m in methods if m.kind not in SIMPLE]


def differences(rows: Rows, methods: Sequence[Method], method: Method) -> dict[str, Any]:
    """By measure the best simple fills of one frame and of all, and how far the method is from them."""
    found = {}
    for n in measured(rows, methods):
        for label, kinds in (("best simple fill", SIMPLE), ("best that sees one frame", SIMPLE[:1])):
            if other := best_simple(rows, methods, n, kinds):
                found.setdefault(n, {})[label] = {"baseline": other, **asdict(rows.difference(method.name, other, n))}
    return found


def first_checkpoint(methods: Sequence[Method], method: Method) -> Method | None:
    """The first of several checkpoints, used in the same way; None for itself and for what is no checkpoint."""
    first = next(m for m in methods if m.kind == method.kind)
    return first if method.kind in TRAINED and first is not method else None


def by_width(measure: str) -> dict[str, str]:
    """The names of a measure over all holes and over those of each class of widths."""
    return {"all": measure} | {width: f"{measure} of {width}" for width in WIDTHS}


def against_first(rows: Rows, methods: Sequence[Method], method: Method) -> dict[str, Any]:
    """How far a checkpoint is from the first one, by measure and width; nothing where there is none to compare with."""
    if not (first := first_checkpoint(methods, method)):
        return {}
    names = [name for measure in SPLIT for name in by_width(measure).values()]
    return {"checkpoint": first.name, **{n: asdict(rows.difference(method.name, first.name, n)) for n in names}}


def every_mean(rows: Rows, method: str) -> dict[str, Interval]:
    """The means of all clips, of classes of widths, and of groups, by a name that says which."""
    names = list(dict.fromkeys(n for row in rows.values[method] for n in row if not n.startswith("iw3_")))
    found = {n: rows.mean(method, n) for n in names}
    for kind in ("video", "motion"):
        for group in rows.groups(kind):
            found |= {f"{n} of {kind} {group}": rows.mean(method, n, {kind: group}) for n in MEASURES if n in found}
    return found


def figure(found: Interval, digits: int, sign: str = "") -> str:
    """A mean with its interval."""
    if math.isnan(found.mean):
        return "–"
    text = f"{found.mean:{sign}.{digits}f}"
    return text if math.isnan(found.low) else f"{text} [{found.low:{sign}.{digits}f}, {found.high:{sign}.{digits}f}]"
