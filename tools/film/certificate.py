"""Whether tuning helped on shots that it did not learn from: paired differences by shot, and the verdict."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from pack.shards.record import parse_info
from pack.shards.shard import list_shards, read_record
from tools.cli.files import read_small
from tools.film.survey import Shot, shot_of

PSNR = "hole_psnr"
# 97.5 % points of Student's t by degrees of freedom; beyond 30 the normal distribution's 1.96 is close enough
T = [
    *(math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145),
    *(2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
]


@dataclass(frozen=True)
class Gain:
    """A mean difference over shots with its 95 % confidence interval."""

    mean: float
    low: float
    high: float
    shots: int

    def __str__(self) -> str:
        return f"{self.mean:+.2f} dB [{self.low:+.2f}, {self.high:+.2f}]"


@dataclass(frozen=True)
class Certificate:
    """The comparison on held-out shots."""

    start: str  # names of the methods
    tuned: str
    fill: str  # the best one that sees one frame
    means: dict[str, float]  # PSNR in holes by method, mean over shots
    against_start: Gain
    against_fill: Gain
    start_against_fill: Gain
    shots: dict[int, dict[str, float]]  # by shot: PSNR in holes by method
    apart: bool  # whether these shots had no part in choosing the tuned network

    @property
    def is_better(self) -> bool:
        """Whether tuning certainly helped: the interval of its gain lies above 0."""
        return self.against_start.low > 0

    def verdict(self) -> str:
        """Which network is used, and why."""
        held = f"{self.against_start} in holes of {self.against_start.shots} held-out shots"
        flattered = "" if self.apart else "; they also chose this network, which flatters it slightly"
        if self.is_better:
            return f"the tuned network is used: it gains {held}{flattered}"
        doubt = "this interval does not lie above 0, so it is not certain that tuning helped"
        return f"the start is used: tuning changed {held}; {doubt}{flattered}"


def certify(metrics: Path, split: Path, shots: Sequence[Shot], start: str, tuned: str, apart: bool) -> Certificate:
    """The certificate from metrics.json of tools/evaluate.py, measured on records of `split`."""
    found = json.loads(read_small(metrics))
    fills = [name for name, method in found["methods"].items() if method["kind"] == "one frame"]
    by_shot = shot_means(found["clips"], frames_of(split), shots, [start, tuned, *fills])
    means = {name: mean(row[name] for row in by_shot.values()) for name in (start, tuned, *fills)}
    fill = max(fills, key=lambda name: means[name])
    return Certificate(
        start=start,
        tuned=tuned,
        fill=fill,
        means=means,
        against_start=gain(by_shot, tuned, start),
        against_fill=gain(by_shot, tuned, fill),
        start_against_fill=gain(by_shot, start, fill),
        shots=by_shot,
        apart=apart,
    )


def frames_of(split: Path) -> dict[str, int]:
    """The film's frame at which each record begins, by key."""
    return {
        entry.key: int(parse_info(entry.key, read_record(shard, entry)["json"])["start_frame"])
        for shard in list_shards(split)
        for entry in shard.records
    }


def shot_means(
    clips: Sequence[Mapping[str, Any]], frames: Mapping[str, int], shots: Sequence[Shot], names: Sequence[str]
) -> dict[int, dict[str, float]]:
    """By shot the mean PSNR in holes of each method, over clips that all of them were measured on."""
    rows: dict[int, list[dict[str, float]]] = defaultdict(list)
    for clip in clips:
        values = {name: clip["measures"][name].get(PSNR) for name in names}
        if all(value is not None for value in values.values()):
            rows[shot_of(list(shots), frames[clip["key"]])].append(values)
    return {shot: {name: mean(row[name] for row in found) for name in names} for shot, found in sorted(rows.items())}


def gain(by_shot: Mapping[int, Mapping[str, float]], method: str, other: str) -> Gain:
    """The mean over shots of one method's PSNR minus another's, with Student's t interval.

    Shots are the independent samples: clips of one shot resemble each other. A bootstrap over few shots would be too
    narrow.
    """
    gaps = [row[method] - row[other] for row in by_shot.values()]
    if len(gaps) < 2:
        return Gain(mean(gaps) if gaps else math.nan, -math.inf, math.inf, len(gaps))
    half = (T[len(gaps) - 1] if len(gaps) <= len(T) else 1.96) * stdev(gaps) / math.sqrt(len(gaps))
    return Gain(mean(gaps), mean(gaps) - half, mean(gaps) + half, len(gaps))
