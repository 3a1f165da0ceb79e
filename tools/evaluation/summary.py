"""From the measures of each clip to means with intervals, and differences between methods.

An interval holds 95 % of the means of clips drawn again with replacement, the same draws for every method and measure
(paired percentile bootstrap: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

DRAWS = 2000
WIDTHS = {"0-8": (0, 8), "8-32": (8, 32), "32-64": (32, 64), "over 64": (64, math.inf)}  # of holes, in pixels at 1080p


@dataclass(frozen=True)
class Measure:
    """How a number is shown, and what it is."""

    title: str
    short: str
    digits: int
    about: str
    higher_is_better: bool = False


SSIM = "structural similarity, Gaussian window of 11 px (Wang et al., TIP 2004)"
LPIPS = "distance of AlexNet's features, LPIPS v0.1 (Zhang et al., CVPR 2018)"
MEASURES = {
    "hole_psnr": Measure("PSNR in holes, dB", "PSNR", 2, "of the mean squared error of a clip's hidden pixels", True),
    "hole_ssim": Measure("SSIM in holes", "SSIM", 4, SSIM, True),
    "hole_lpips": Measure("LPIPS in holes", "LPIPS", 4, LPIPS),
    "hole_mae": Measure("MAE in holes", "MAE", 4, "mean absolute error, of 1"),
    "hole_tde": Measure(
        "temporal difference error in holes",
        "TDE",
        4,
        "mean absolute error of the change to the next frame: flicker (dtSSD of Erofeev et al., BMVC 2015, absolute)",
    ),
    "hole_ewarp": Measure(
        "Ewarp in holes",
        "Ewarp",
        5,
        "squared difference to the next frame moved back along the truth's flow (Lai et al., ECCV 2018); not 0 for "
        "the truth itself",
    ),
    "hole_tof": Measure(
        "tOF in holes, px",
        "tOF",
        3,
        "difference between the optical flow of the output and of the truth (Chu et al., TOG 2020)",
    ),
    "psnr": Measure("PSNR, dB", "PSNR/frame", 2, "of the mean squared error of all of a clip's pixels", True),
    "ssim": Measure("SSIM", "SSIM/frame", 4, SSIM, True),
    "lpips": Measure("LPIPS", "LPIPS/frame", 4, LPIPS),
    "mae": Measure("MAE", "MAE/frame", 5, "mean absolute error, of 1"),
}


@dataclass(frozen=True)
class Interval:
    """A mean and where it would lie with other clips; nan where there is too little to say."""

    mean: float
    low: float
    high: float
    clips: int


@dataclass
class Rows:
    """Measures by method and clip, and what is known of each clip."""

    values: dict[str, list[dict[str, float]]] = field(default_factory=dict)  # by method, one dict a clip
    clips: list[dict[str, str | float]] = field(default_factory=list)  # key, video, motion, speed
    seed: int = 0

    def column(self, method: str, measure: str, where: dict[str, str] | None = None) -> np.ndarray:
        """The measure of each clip of a group, nan where a clip has none."""
        chosen = [all(clip[k] == v for k, v in (where or {}).items()) for clip in self.clips]
        rows = self.values[method]
        return np.array([row.get(measure, math.nan) for row, c in zip(rows, chosen, strict=True) if c], float)

    def mean(self, method: str, measure: str, where: dict[str, str] | None = None) -> Interval:
        return interval(self.column(method, measure, where), self.seed)

    def difference(self, method: str, other: str, measure: str) -> Interval:
        """Of clips that both have measured."""
        return interval(self.column(method, measure) - self.column(other, measure), self.seed)

    def best(self, methods: Sequence[str], measure: str) -> str | None:
        """The method with the best mean, None where nothing was measured."""
        means = {method: self.mean(method, measure).mean for method in methods}
        known = {method: mean for method, mean in means.items() if not math.isnan(mean)}
        sign = 1 if MEASURES[measure].higher_is_better else -1
        return max(known, key=lambda method: sign * known[method], default=None)

    def iw3(self, method: str) -> dict[str, float]:
        """What iw3's benchmark would print: means over frames, not over clips; nan where none was measured."""
        sums = {
            name: sum(row[f"iw3_{name}"] for row in self.values[method]) for name in ("frames", "psnr", "hole_psnr")
        }
        return {name: sums[name] / sums["frames"] if sums["frames"] else math.nan for name in ("psnr", "hole_psnr")}

    def groups(self, name: str) -> list[str]:
        """The videos or kinds of motion among the clips."""
        return sorted({str(clip[name]) for clip in self.clips})


def interval(values: np.ndarray, seed: int) -> Interval:  # (clips)
    """The mean of what is not nan, and its interval."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return Interval(float(known[0]) if len(known) else math.nan, math.nan, math.nan, len(known))
    draws = np.random.default_rng(seed).integers(len(known), size=(DRAWS, len(known)))
    low, high = np.quantile(known[draws].mean(1), (0.025, 0.975))
    return Interval(float(known.mean()), float(low), float(high), len(known))
