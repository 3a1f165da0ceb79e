"""Definitions of the measures, and their statistics over clips: means with intervals, differences between methods.

An interval is a 95 % confidence interval of the mean: clips are resampled with replacement, in the same way for every
method and measure (paired percentile bootstrap: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993,
chapter 13).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pack.holes.placement import MOST_CROSSED
from tools.cli import plural

RESAMPLES = 2000
WIDTHS = {
    "0-8": (0, 8),
    "8-32": (8, 32),
    "32-64": (32, 64),
    "over 64": (64, math.inf),
}  # of holes: above, up to; pixels at 1080p
PLACEMENTS = {"aligned": MOST_CROSSED, "crossed": 1}  # of holes: share of their pixels that is crossed, up to
MOTIONS = {"still": 1, "slow": 8, "fast": math.inf}  # classes of mean motion: up to; pixels per frame at 1080p


@dataclass(frozen=True)
class Measure:
    """The definition of a measure and how it is displayed."""

    title: str
    short: str  # title in the table of the terminal
    digits: int  # after the decimal point
    about: str  # its definition
    higher_is_better: bool = False


SSIM = "structural similarity with a Gaussian window of 11 px (Wang et al., TIP 2004)"
LPIPS = "perceptual distance between AlexNet features, LPIPS v0.1 (Zhang et al., CVPR 2018)"
MEASURES = {
    "hole_psnr": Measure(
        "PSNR in holes, dB",
        "PSNR",
        2,
        "peak signal-to-noise ratio, from the mean squared error over all hole pixels of a clip",
        True,
    ),
    "hole_ssim": Measure("SSIM in holes", "SSIM", 4, SSIM, True),
    "hole_lpips": Measure("LPIPS in holes", "LPIPS", 4, LPIPS),
    "hole_mae": Measure("MAE in holes", "MAE", 4, "mean absolute error of values in [0, 1]"),
    "hole_tde": Measure(
        "temporal difference error in holes",
        "TDE",
        4,
        "flicker: mean absolute error of the change from each frame to the next (dtSSD of Erofeev et al., BMVC 2015, "
        "with absolute instead of squared error)",
    ),
    "hole_ewarp": Measure(
        "Ewarp in holes",
        "Ewarp",
        5,
        "warping error: squared difference to the next frame, warped back along the optical flow of the ground truth "
        "(Lai et al., ECCV 2018); it is not 0 for the ground truth itself",
    ),
    "hole_tof": Measure(
        "tOF in holes, px",
        "tOF",
        3,
        "difference between the optical flow of the output and that of the ground truth (Chu et al., TOG 2020)",
    ),
    "psnr": Measure(
        "PSNR, dB",
        "PSNR/frame",
        2,
        "peak signal-to-noise ratio, from the mean squared error over all pixels of a clip",
        True,
    ),
    "ssim": Measure("SSIM", "SSIM/frame", 4, SSIM, True),
    "lpips": Measure("LPIPS", "LPIPS/frame", 4, LPIPS),
    "mae": Measure("MAE", "MAE/frame", 5, "mean absolute error of values in [0, 1]"),
}


@dataclass(frozen=True)
class Interval:
    """A mean over clips with its 95 % confidence interval; nan where there are too few clips."""

    mean: float
    low: float
    high: float
    clips: int


@dataclass
class Rows:
    """The measures by method and clip, and the description of each clip."""

    values: dict[str, list[dict[str, float]]] = field(default_factory=dict)  # by method, one dict per clip
    # of each clip: key, video, kind, placement, crossed, motion, speed
    clips: list[dict[str, str | float]] = field(default_factory=list)
    seed: int = 0
    broken: dict[str, list[str]] = field(default_factory=dict)  # by method, keys of clips where its output has NaN
    too_short: dict[str, list[str]] = field(default_factory=dict)  # by method, keys of clips with too few frames

    def extend(self, other: "Rows") -> None:
        """Add the clips of another evaluation of the same methods."""
        self.clips += other.clips
        for method, values in other.values.items():
            self.values[method] += values
        for mine, theirs in ((self.broken, other.broken), (self.too_short, other.too_short)):
            for method, keys in theirs.items():
                mine.setdefault(method, []).extend(keys)

    def left_out(self) -> list[str]:
        """A line for each method whose means leave out clips: how many, and why."""
        reasons = ((self.broken, "of output that is not finite"), (self.too_short, "of too few frames"))
        lines = []
        for clips, why in reasons:
            for method, keys in clips.items():
                part = f"{len(keys)} of {plural(len(self.clips), 'clip')} {'is' if len(keys) == 1 else 'are'}"
                named = ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
                lines.append(f"{method}: {part} left out of its means, because {why}: {named}")
        return lines

    def column(self, method: str, measure: str, where: dict[str, str] | None = None) -> np.ndarray:
        """The measure of each clip of the group `where`, nan for a clip without it."""
        chosen = [all(clip[k] == v for k, v in (where or {}).items()) for clip in self.clips]
        rows = self.values[method]
        return np.array([row.get(measure, math.nan) for row, c in zip(rows, chosen, strict=True) if c], float)

    def mean(self, method: str, measure: str, where: dict[str, str] | None = None) -> Interval:
        """The mean over the clips of a group that have the measure."""
        return interval(self.column(method, measure, where), self.seed)

    def difference(self, method: str, other: str, measure: str) -> Interval:
        """The mean difference over the clips for which both methods have the measure."""
        return interval(self.column(method, measure) - self.column(other, measure), self.seed)

    def best(self, methods: Sequence[str], measure: str) -> str | None:
        """The method with the best mean, None where nothing was measured."""
        means = {method: self.mean(method, measure).mean for method in methods}
        known = {method: mean for method, mean in means.items() if not math.isnan(mean)}
        sign = 1 if MEASURES[measure].higher_is_better else -1
        return max(known, key=lambda method: sign * known[method], default=None)

    def iw3(self, method: str) -> dict[str, float]:
        """The numbers of iw3's benchmark: means over frames instead of clips; nan where no frame was measured."""
        sums = {
            name: sum(row[f"iw3_{name}"] for row in self.values[method]) for name in ("frames", "psnr", "hole_psnr")
        }
        return {name: sums[name] / sums["frames"] if sums["frames"] else math.nan for name in ("psnr", "hole_psnr")}

    def groups(self, name: str) -> list[str]:
        """The different values of `name` (video, motion, kind or placement) among the clips."""
        return sorted({str(clip[name]) for clip in self.clips})


def interval(values: np.ndarray, seed: int) -> Interval:  # (clips)
    """The mean of the values that are not nan, and its interval."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return Interval(float(known[0]) if len(known) else math.nan, math.nan, math.nan, len(known))
    draws = np.random.default_rng(seed).integers(len(known), size=(RESAMPLES, len(known)))
    low, high = np.quantile(known[draws].mean(1), (0.025, 0.975))
    return Interval(float(known.mean()), float(low), float(high), len(known))
