"""How well the expected error of fills is known: fitted to held-out shots, and checked on shots that it was not
fitted to.

T frames, H height, W width; errors are in levels of 8 bits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pack.shards.record import decode
from pack.shards.shard import list_shards, read_record
from pack.shards.untrusted import CorruptRecord
from tools.evaluation.baselines import Fill
from tools.film.survey import Shot, shot_of
from tools.synthesis.confidence import FEATURES, LEVELS, Confidence, Filled, features
from train.evaluation.fills import replicate

FRAMES = 12
SHOWN = range(3, 9)  # of a window of 12, those that the conversion takes from it
PIXELS = 3000  # of a record at most
BINS = 8  # points of the curve
LEAST = 3  # shots, as each is predicted from the others


@dataclass(frozen=True)
class Samples:
    """Filled pixels of held-out shots."""

    features: np.ndarray  # float (N, 3)
    errors: np.ndarray  # float (N,)
    shots: np.ndarray  # int (N,)
    records: np.ndarray  # int (N,)


@dataclass(frozen=True)
class Calibration:
    """A fit, and how it predicts shots that it was not fitted to."""

    confidence: Confidence
    curve: list[tuple[float, float]]  # mean expected and mean measured error of equally many pixels, ascending
    by_pixel: float  # Spearman's rank correlation of expected and measured error over pixels
    by_record: float  # the same over means of records
    pixels: int
    records: int
    shots: int

    def __str__(self) -> str:
        return (
            f"rank correlation of expected and measured error: {self.by_pixel:.2f} over pixels, "
            f"{self.by_record:.2f} over {self.records} records of {self.shots} held-out shots"
        )


def calibrate(split: Path, shots: Sequence[Shot], fill: Fill, network: str, device: torch.device) -> Calibration | None:
    """The calibration of a network on the records of a split; None where these are of too few shots."""
    found = collect(split, shots, fill, device)
    if found is None or len(np.unique(found.shots)) < LEAST:
        return None
    expected = np.empty_like(found.errors)
    for shot in np.unique(found.shots):  # each from the others
        out = found.shots == shot
        expected[out] = predict(fit(found.features[~out], found.errors[~out]), found.features[out])
    order = np.argsort(expected, kind="stable")
    curve = [(float(expected[part].mean()), float(found.errors[part].mean())) for part in np.array_split(order, BINS)]
    names = np.unique(found.records)
    means = [[values[found.records == name].mean() for name in names] for values in (expected, found.errors)]
    return Calibration(
        Confidence(tuple(map(float, fit(found.features, found.errors))), network),
        curve,
        spearman(expected, found.errors),
        spearman(*map(np.array, means)),
        len(expected),
        len(names),
        len(np.unique(found.shots)),
    )


def collect(split: Path, shots: Sequence[Shot], fill: Fill, device: torch.device) -> Samples | None:
    """Some filled pixels of each record of a split."""
    rows = []
    for number, (start, found, errors) in enumerate(measured(split, fill, device)):
        chosen = np.random.default_rng(number).permutation(len(errors))[:PIXELS]
        shot = np.full(len(chosen), shot_of(list(shots), start))
        rows.append((found[chosen], errors[chosen], shot, np.full(len(chosen), number)))
    return Samples(*map(np.concatenate, zip(*rows, strict=True))) if rows else None


def measured(split: Path, fill: Fill, device: torch.device) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """For each record its first frame in the film, and the features (N, 3) and errors (N,) of its filled pixels."""
    for shard in list_shards(split):
        for entry in shard.records:
            try:
                record = decode(entry.key, read_record(shard, entry))
            except CorruptRecord:
                continue
            found, errors = errors_of(record.frames, record.masks, fill, device)
            if len(errors):
                yield int(record.info["start_frame"]), found, errors


@torch.inference_mode()
def errors_of(
    frames: np.ndarray, masks: np.ndarray, fill: Fill, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:  # uint8 (T H W 3), (T H W) -> (N, 3), (N,)
    """Features and errors of the filled pixels in the middle frames of a record."""
    start = (len(frames) - FRAMES) // 2
    truth = torch.from_numpy(frames[start : start + FRAMES].copy()).to(device).permute(0, 3, 1, 2).float() / LEVELS
    holes = torch.from_numpy(masks[start : start + FRAMES].copy()).to(device)[:, None] > 0
    seen = truth.masked_fill(holes, 0)
    filled, simple = fill(seen, holes), replicate(seen, holes)
    rows, errors = [], []
    for t in SHOWN:
        before = Filled(filled[t - 1], holes[t - 1])
        rows.append(features(Filled(filled[t], holes[t]), simple[t], before)[:, holes[t, 0]])
        errors.append((filled[t] - truth[t]).abs().mean(0)[holes[t, 0]] * LEVELS)
    return torch.cat(rows, 1).T.cpu().numpy(), torch.cat(errors).cpu().numpy()


def fit(found: np.ndarray, errors: np.ndarray) -> np.ndarray:  # (N, 3), (N,) -> (1 + 3,)
    """The weights of 1 and of the features with the least squared error, none below 0.

    A feature whose weight would be negative is left out: an error that shrinks with the width of the hole is chance.
    """
    used = list(range(len(FEATURES)))
    while True:
        rows = np.column_stack([np.ones(len(found)), found[:, used]])
        solved = np.linalg.lstsq(rows, errors, rcond=None)[0]
        if not used or solved[1:].min() >= 0:
            break
        used.pop(int(solved[1:].argmin()))
    weights = np.zeros(1 + len(FEATURES))
    weights[[0, *(1 + one for one in used)]] = solved
    return weights


def predict(weights: np.ndarray, found: np.ndarray) -> np.ndarray:  # (1 + 3,), (N, 3) -> (N,)
    return (weights[0] + found @ weights[1:]).clip(0, LEVELS)


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """The rank correlation of two series; equal values share their mean rank. nan where one is constant."""
    ranks = [mean_ranks(values) for values in (a, b)]
    if min(one.std() for one in ranks) == 0:
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def mean_ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]
