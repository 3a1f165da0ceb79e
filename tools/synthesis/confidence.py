"""How far fills may be off: the expected error of each filled pixel, from what is seen without the truth.

H height, W width. Errors are mean absolute differences over R, G and B, in levels of 8 bits. Three features of a filled
pixel: the width of its hole in the row, the spread between the network's and a simple fill, and how much the fill
changes from the frame before. Their weights come from held-out shots, where the truth is known (`make film`).
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pack.shards.untrusted import parse_object
from pack.video.bars import NO_BARS, Bars
from tools.cli import MissingFile, UserError
from tools.cli.files import read_small, whole_file, write_file
from train.evaluation.fills import hole_ends

FEATURES = ("width of the hole, percent of the frame", "spread between fills, levels", "change in time, levels")
LEVELS = 255
VERSION = 1


@dataclass(frozen=True)
class Filled:
    """A frame with its holes filled."""

    frame: torch.Tensor  # float (3 H W) in [0, 1]
    holes: torch.Tensor  # bool (1 H W)


def features(now: Filled, simple: torch.Tensor, before: Filled | None) -> torch.Tensor:  # -> float (3 H W)
    """FEATURES of each pixel, 0 outside holes; `simple` is what a simple fill makes of the frame (3 H W).

    Without the frame before, and where that has no hole, nothing is known of the change, and it counts as 0.
    """
    right, left = hole_ends(now.holes[None])
    width = (right - left - 1)[0, 0] * (100 / now.frame.shape[-1])
    spread = (now.frame - simple).abs().mean(0) * LEVELS
    change = torch.zeros_like(spread)
    if before is not None:
        change = (now.frame - before.frame).abs().mean(0).masked_fill(~before.holes[0], 0) * LEVELS
    return torch.stack([width.float(), spread, change]).masked_fill(~now.holes, 0)


@dataclass(frozen=True)
class Confidence:
    """A calibration: the expected error is a weighted sum of the features."""

    weights: tuple[float, ...]  # of 1 and of FEATURES
    network: str  # sha256 of the weight file that fills, or the name of an included one

    def expected(self, found: torch.Tensor, holes: torch.Tensor) -> torch.Tensor:  # (3 H W), (1 H W) -> (H W)
        """The expected error in levels, 0 outside holes."""
        first, *rest = self.weights
        error = first + sum(weight * one for weight, one in zip(rest, found, strict=True))
        return error.clamp(0, LEVELS).masked_fill(~holes[0], 0)

    def save(self, path: Path) -> None:
        write_file(path, (json.dumps({"version": VERSION, **asdict(self)}) + "\n").encode())


def load_confidence(path: Path) -> Confidence:
    """A calibration that `make film` wrote. Raises UserError."""
    if not path.is_file():
        raise MissingFile(f"--confidence {path}: no such file, expected a confidence.json of make film")
    try:
        found = parse_object(read_small(path))
        weights = tuple(float(weight) for weight in found["weights"])
        if found["version"] != VERSION or len(weights) != 1 + len(FEATURES) or not np.isfinite(weights).all():
            raise ValueError(f"expected version {VERSION} and {1 + len(FEATURES)} weights")
        return Confidence(weights, str(found["network"]))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise UserError(f"{path} is not a calibration of make film ({error}): make it again") from error


class ErrorMaps:
    """Writes the expected error of each frame of a film as a grey picture, one level for each level."""

    def __init__(self, folder: Path, confidence: Confidence):
        self.folder, self.confidence = folder, confidence
        self.before: Filled | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def begin(self) -> None:
        """Forget the frame before: a shot begins, or a part from which an interrupted conversion may continue."""
        self.before = None

    def write(self, number: int, now: Filled, simple: torch.Tensor, bars: Bars = NO_BARS) -> None:
        """Write the map of frame `number`, with the bars that it lacks."""
        error = self.confidence.expected(features(now, simple, self.before), now.holes)
        self.before = now
        pixels = error.round().byte().cpu().numpy()
        if bars:
            whole = np.zeros(bars.whole(pixels.shape), np.uint8)
            whole[bars.picture(whole.shape)] = pixels
            pixels = whole
        with whole_file(self.folder / f"{number:08d}.png") as file:
            Image.fromarray(pixels).save(file, "PNG", compress_level=1)
