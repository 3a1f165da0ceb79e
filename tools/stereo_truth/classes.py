"""The classes that scenes and their uncovered pixels are split by, all found from the true eyes.

T frames, H height, W width; eyes are float (T 3 H W) in [0, 1], masks bool (T 1 H W).
"""

import math

import torch

from pack.kernels.filters import box_filter
from tools.evaluation.motion import grey
from tools.evaluation.quality import hole_widths
from tools.evaluation.summary import MOTIONS, WIDTHS
from tools.stereo_truth.measures import TrueEye, band
from train.evaluation.fills import hole_ends, take
from train.evaluation.metrics import mean_where

LEAST = 64  # pixels of a class of widths, less of which in a clip are not measured
STRENGTH = {"to 3 %": 3, "to 5 %": 5, "over 5 %": math.inf}  # divergence, percent
TEXTURE = {"smooth": 0.01, "textured": 0.03, "rough": math.inf}  # mean distance of luma from its 9 px mean, of 1
CONTRAST = {"low": 0.1, "medium": 0.25, "high": math.inf}  # mean difference of colour across a hole, of 1
MOTION = MOTIONS  # pixels a frame at 1080p
SOFTNESS = {"hard": 2, "soft": 6, "very soft": math.inf}  # mean width of the half-transparent border, pixels
LIMITS = {"strength": STRENGTH, "texture": TEXTURE, "contrast": CONTRAST, "motion": MOTION, "softness": SOFTNESS}
UNKNOWN = "unknown"
GROUPS = {
    "strength": "by strength of the effect, in percent of the longer side",
    "texture": "by texture of uncovered pixels",
    "contrast": "by contrast between foreground and background",
    "motion": "by motion, in px a frame at 1080p: still up to 1, slow up to 8",
    "softness": "by softness of the scene's edges",
}


def class_of(value: float, classes: dict[str, float]) -> str:
    """The first class whose upper limit the value does not exceed; UNKNOWN for nan."""
    return UNKNOWN if math.isnan(value) else next(name for name, most in classes.items() if value <= most)


def texture(truth: TrueEye) -> float:
    """Mean |luma - its mean over 9x9 px| of the right eye, over uncovered pixels and their band: 0 is flat."""
    luma = grey(truth.right)
    near = truth.uncovered | band(truth.uncovered)
    return float(mean_where((luma - box_filter(luma, 4)).abs(), near))


def contrast(truth: TrueEye) -> float:
    """Mean difference over R, G and B between the pixels left and right of each uncovered run of a row.

    The foreground is on the left, the background continues on the right. Runs that touch the border do not count.
    """
    right, left = hole_ends(truth.uncovered)
    inside = truth.uncovered & (left >= 0) & (right < truth.uncovered.shape[-1])
    hides, hidden = (take(truth.right, truth.uncovered, x) for x in (left, right))
    return float(mean_where((hides - hidden).abs(), inside))


def widths_at_1080p(uncovered: torch.Tensor, scale: float) -> torch.Tensor:  # bool (T 1 H W) -> float (T 1 H W)
    """The length of the uncovered run of its row that contains each uncovered pixel, elsewhere 0."""
    return hole_widths(uncovered) * scale


def parts_by_width(widths: torch.Tensor) -> dict[str, torch.Tensor]:  # (T 1 H W) -> bool (T 1 H W) by name
    """The uncovered pixels of each class of widths, of those classes that the clip has."""
    parts = {name: (widths > above) & (widths <= most) for name, (above, most) in WIDTHS.items()}
    return {name: where for name, where in parts.items() if where.sum() >= LEAST}
