"""What a comparison found, as tables of text."""

import math
from collections.abc import Sequence

from tools.evaluation.comparison import figure
from tools.evaluation.methods import Method
from tools.evaluation.summary import WIDTHS, Interval
from tools.stereo_truth.classes import LIMITS, UNKNOWN
from tools.stereo_truth.compare import LEFT_EYE, PERFECT, Case, Found
from tools.stereo_truth.measures import MEASURES

TERMINAL = ("uncovered_psnr", "uncovered_tde", "band_psnr", "band_tde", "frame_psnr", "siou")  # all are in the report
VERDICTS = {"uncovered_psnr": "uncovered pixels", "band_psnr": "band"}
NOT_RANKED = (LEFT_EYE, PERFECT, "empty")


def mean(found: Found, case: Case, measure: str, where: dict[str, str] | None = None) -> Interval:
    return found.rows.mean(str(case), measure, where)


def difference(found: Found, case: Case, other: Case, measure: str) -> Interval:
    """Of the scenes that both have measured, paired."""
    return found.rows.difference(str(case), str(other), measure)


def pairs(found: Found) -> list[tuple[str, str]]:
    """The (depth, warp) that were measured, in order."""
    return list(dict.fromkeys((case.depth, case.warp) for case in found.cases))


def fills(found: Found) -> list[str]:
    """The names of the fills, in order."""
    return list(dict.fromkeys(case.fill for case in found.cases))


def ranked(found: Found, depth: str, warp: str, measure: str) -> list[str]:
    """The fills from best to worst by the mean of a measure; those that are no rivals are left out."""
    means = {name: mean(found, Case(depth, warp, name), measure).mean for name in fills(found)}
    known = [name for name, value in means.items() if name not in NOT_RANKED and not math.isnan(value)]
    return sorted(known, key=lambda name: means[name], reverse=MEASURES[measure].higher_is_better)


def summary_table(found: Found, depth: str, warp: str, methods: Sequence[Method]) -> list[list[str]]:
    """A line for each fill: the means of some measures, the first one with its interval."""
    cost = {m.name: m.cost.milliseconds for m in methods if m.cost.seconds}
    lines = [["fill", *(heading(n) for n in TERMINAL), "ms/frame"]]
    for name in fills(found):
        case = Case(depth, warp, name)
        cells = [number(mean(found, case, n).mean, MEASURES[n].digits) for n in TERMINAL]
        cells[0] = figure(mean(found, case, TERMINAL[0]), MEASURES[TERMINAL[0]].digits)
        lines.append([name, *cells, number(cost[name], 1) if name in cost else "–"])
    return lines


def full_table(found: Found, depth: str, warp: str) -> list[list[str]]:
    """A line for each fill: the mean of every measure with its interval."""
    lines = [["fill", *(heading(n) for n in MEASURES)]]
    for name in fills(found):
        case = Case(depth, warp, name)
        lines.append([name, *(figure(mean(found, case, n), MEASURES[n].digits) for n in MEASURES)])
    return lines


def width_table(found: Found, depth: str, warp: str) -> list[list[str]]:
    """PSNR in uncovered pixels by the width of the uncovered run."""
    lines = [["fill", *WIDTHS]]
    for name in fills(found):
        case = Case(depth, warp, name)
        lines.append([name, *(figure(mean(found, case, f"uncovered_psnr of {w}"), 2) for w in WIDTHS)])
    return lines


def group_table(found: Found, depth: str, warp: str, kind: str, measure: str = "uncovered_psnr") -> list[list[str]]:
    """A measure by the classes of scenes of one kind."""
    here, digits = found.rows.groups(kind), MEASURES[measure].digits
    groups = [group for group in (*LIMITS[kind], UNKNOWN) if group in here]
    count = {group: sum(clip[kind] == group for clip in found.rows.clips) for group in groups}
    lines = [["fill", *(f"{group} ({count[group]})" for group in groups)]]
    for name in fills(found):
        case = Case(depth, warp, name)
        lines.append([name, *(figure(mean(found, case, measure, {kind: g}), digits) for g in groups)])
    return lines


def verdict_table(found: Found, methods: Sequence[Method]) -> list[list[str]]:
    """How far each network is from the best fill that sees one frame, in dB of PSNR; empty without one."""
    simple = [m.name for m in methods if m.kind == "one frame"]
    networks = [m.name for m in methods if m.kind in ("network", "stream")]
    if not simple or not networks:
        return []
    best = {
        (depth, warp, measure): next((name for name in ranked(found, depth, warp, measure) if name in simple), None)
        for depth, warp in pairs(found)
        for measure in VERDICTS
    }

    def cells(name: str, depth: str, warp: str, measure: str) -> list[str]:
        other = best[depth, warp, measure]
        if other is None:
            return ["–", "–"]
        gap = difference(found, Case(depth, warp, name), Case(depth, warp, other), measure)
        return [figure(gap, 2, "+"), other]

    head = ["network", "depth", "warp", *(cell for where in VERDICTS.values() for cell in (where, "against"))]
    rows = ((name, *pair) for name in networks for pair in pairs(found))
    return [head, *([*row, *(cell for measure in VERDICTS for cell in cells(*row, measure))] for row in rows)]


def heading(measure: str) -> str:
    """A short name: UNC, BAND or FRAME and the measure."""
    region = {"uncovered": "hole", "band": "band", "frame": "frame"}.get(measure.partition("_")[0])
    return f"{MEASURES[measure].short} {region}" if region else MEASURES[measure].short


def number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
