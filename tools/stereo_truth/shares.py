"""Which share of the error the fill, the warp and the depth each have.

The mean squared error with exact depth is a sum of two: the error in pixels that the fill made, and the error in
all others, which the warp made. What the error grows by with another depth is the depth's; it is negative where worse
depth helps, as where it opens fewer holes.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tools.evaluation.summary import Interval, interval
from tools.stereo_truth.compare import PERFECT, Case, Found
from tools.stereo_truth.depths import EXACT
from tools.stereo_truth.measures import REGIONS


@dataclass(frozen=True)
class Shares:
    """Mean squared errors over scenes, of 1, and their parts; fill + warp + depth = total."""

    total: Interval
    fill: Interval
    warp: Interval
    depth: Interval

    def percent(self, part: str) -> float:
        """The part's share of the total in percent, nan where there is no error."""
        return 100 * getattr(self, part).mean / self.total.mean if self.total.mean else math.nan


def shares_of(found: Found, case: Case, region: str) -> Shares | None:
    """The parts of a case's error in a region; None where exact depth was not measured."""
    exact = Case(EXACT, case.warp, case.fill)
    if exact not in found.cases:
        return None

    def column(one: Case, name: str) -> np.ndarray:
        return found.rows.column(str(one), f"{region}_{name}")

    total, base, fill = column(case, "mse"), column(exact, "mse"), column(exact, "mse_filled")
    parts = (total, fill, base - fill, total - base)
    return Shares(*(interval(part, found.rows.seed) for part in parts))


def share_table(found: Found, fills: Sequence[str], region: str) -> list[list[str]]:
    """A line for each depth, warp and fill: the error, and which percentage of it fill, warp and depth have."""
    table = [["depth", "warp", "fill", "error x 1000", "fill, %", "warp, %", "depth, %"]]
    for case in found.cases:
        shares = shares_of(found, case, region) if case.fill in fills else None
        if shares:
            percents = [f"{p:.0f}" if p == p else "–" for p in map(shares.percent, ("fill", "warp", "depth"))]
            table.append([case.depth, case.warp, case.fill, f"{1000 * shares.total.mean:.3f}", *percents])
    return table


def shares_as_json(found: Found) -> list[dict[str, Any]]:
    """All shares of all cases, with intervals."""
    lines = []
    for case in found.cases:
        if case.fill == PERFECT:
            continue
        for region in REGIONS:
            if shares := shares_of(found, case, region):
                percent = {part: shares.percent(part) for part in ("fill", "warp", "depth")}
                lines.append(asdict(case) | {"region": region, "mse": asdict(shares), "percent": percent})
    return lines
