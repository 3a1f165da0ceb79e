"""A strength that suits each shot (`DIVERGENCE=auto`): from the spread of its depth and from its motion.

Limits of comfort, for a screen seen under VIEW degrees, as from 3.1 picture heights of a 16:9 screen:
- screen disparity of at most one degree: Lambooij et al., "Visual Discomfort and Visual Fatigue of Stereoscopic
  Displays: A Review", JIST 53(3), 2009; Shibata et al., "The zone of comfort", Journal of Vision 11(8), 2011. With
  STRONGEST no pixel has more than 0.8 degrees, as the screen is in the middle of the range;
- disparity that changes slowly, which matters more than its amount: Speranza et al., "Effect of disparity and motion on
  visual comfort of stereoscopic images", SPIE 6055, 2006. The limit of one degree per second is ours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

AUTO = "auto"  # --divergence: what suits each shot
VIEW = 32.0  # degrees
DEGREE = 100 / VIEW  # percent of the width
USUAL = 2.0  # percent of the width between percentiles 5 and 95: what a divergence of 2.5 gives a usual shot
WEAKEST, STRONGEST = 0.5, 5.0  # percent
SCREEN = 0.5  # nearness at the depth of the screen
PERCENT = 0.05  # of the pixels at each end that the spread leaves out


@dataclass(frozen=True)
class Strength:
    """The divergence of a shot, percent of the longer side, and what decided it."""

    divergence: float
    why: str


def choose_strength(shares: Sequence[float], change: float) -> Strength:
    """The strength of a shot.

    `shares` are those of equal classes of nearness, far to near; `change` is the mean change of nearness per second.
    """
    low, high = quantile(shares, PERCENT), quantile(shares, 1 - PERCENT)
    limits = {
        f"its depth spreads over {100 * (high - low):.0f} % of the range": USUAL / max(high - low, 1e-3),
        f"its depth changes by {100 * change:.0f} % per second": DEGREE / max(change, 1e-3),
        "the most that is used": STRONGEST,
    }
    why = min(limits, key=lambda name: limits[name])
    return Strength(round(max(WEAKEST, limits[why]), 2), why)


def quantile(shares: Sequence[float], part: float) -> float:
    """The nearness below which this part of the pixels lies, linear within a class."""
    below = 0.0
    for number, share in enumerate(shares):
        if share > 0 and below + share >= part * math.fsum(shares):
            return (number + (part * math.fsum(shares) - below) / share) / len(shares)
        below += share
    return 1.0
