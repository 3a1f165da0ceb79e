"""Random parameters of a clip, with iw3's distributions.

They are a function of (seed, file hash, clip number) alone, so they depend neither on what was packed before nor on the
number of processes. All are made from uniform doubles of PCG64, whose stream NumPy keeps the same in every version.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from pack.holes.kinds import FORWARD, MLBW, Shares, choose_kind

Item = TypeVar("Item")
Uniform = Callable[[], float]  # the next number, uniform in [0, 1)

MAPPERS_METRIC = ("none", "div_25", "div_10", "div_4", "div_2", "div_1")
MAPPERS_RELATIVE = ("inv_mul_1", "inv_mul_2", "inv_mul_3", "mul_1", "mul_2", "mul_3")
EDGE_DILATIONS = (0, 0, 0, 1, 1, 2)
EDGE_DILATIONS_FINE = (0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 3, 4)  # for depth maps with a short side of 512 pixels or more
TYPICAL = {"1": (2, 2.5, 3, 4), "2": (4, 5, 6), "3": (7, 8, 9)}
RANGES = {"1": (0, 5), "2": (3, 8), "3": (6, 11)}
# The width of a hole grows with the divergence. Steps of about the square root of 2 give every octave of width the same
# share, from what most films are converted with to four times iw3's usual strength.
TYPICAL_WIDE = (2, 3, 4, 6, 8, 11, 16)
WIDEST = 16
CANDIDATES = 4  # random crops of a record, of which the one with the most holes is kept
WIDEST_SHIFT = 6400  # limit of divergence (percent) * source width (pixels): each view moves 32 pixels at most


@dataclass(frozen=True)
class ClipParams:
    """Random parameters of a clip's records, the same for all of its frames and for its mirror image."""

    rotation: float | None  # degrees, counter-clockwise; None: not rotated
    short_side: int  # of the resized frames, pixels
    interpolation: str  # bicubic or bilinear
    divergence: float  # percent of the width
    convergence: float  # nearness that does not move
    mapper: str  # curve from nearness to disparity
    edge_dilation: int  # rounds
    view: Literal["left", "right"]  # the view that the forward warp starts from
    crop_positions: tuple[tuple[tuple[tuple[float, float], ...], ...], ...]  # (sample, mirrored, candidate) -> (x, y)
    kinds: tuple[str, str] = (FORWARD, FORWARD)  # of the holes of the clip and of its mirror image


def uniform(seed: int, file_hash: str, clip: int) -> Uniform:
    """The random numbers of one clip; `file_hash` is hexadecimal."""
    return np.random.Generator(np.random.PCG64([seed, int(file_hash, 16), clip])).random


def draw_params(
    gen: Uniform,
    source_width: int,
    metric: bool,
    level: str = "1",
    resolution: int | None = None,
    short_sides: Sequence[int] = (720, 1080, 1080),
    num_samples: int = 1,
) -> ClipParams:
    """The random parameters of one clip of a video that is `source_width` pixels wide before it is resized."""
    rotation = draw_range(gen, -45, 45) if gen() < 0.5 else None
    return ClipParams(
        rotation=rotation,
        short_side=choice(gen, short_sides),
        interpolation=choice(gen, ("bicubic", "bilinear")),
        divergence=draw_divergence(gen, level, source_width),
        convergence=choice(gen, (0, 0.5, 1)) if gen() < 0.7 else draw_range(gen, 0, 1),
        mapper=draw_mapper(gen, metric),
        edge_dilation=choice(gen, EDGE_DILATIONS_FINE if (resolution or 0) >= 512 else EDGE_DILATIONS),
        view=choice(gen, ("right", "left")),
        # last, so that more samples change no other parameter
        crop_positions=tuple(tuple(draw_positions(gen) for _ in range(2)) for _ in range(num_samples)),
    )


def draw_kinds(seed: int, file_hash: str, clip: int, shares: Shares | None, has_network: bool) -> tuple[str, str]:
    """The kinds of holes of one clip and of its mirror image; without shares iw3's pair.

    They have random numbers of their own, so that a clip's other parameters are the same for all shares.
    """
    if shares is None:
        return (MLBW if has_network else FORWARD), FORWARD
    random = np.random.Generator(np.random.PCG64([seed, int(file_hash, 16), clip, 1])).random
    return choose_kind(shares, random()), choose_kind(shares, random())


def draw_divergence(gen: Uniform, level: str, source_width: int) -> float:
    if level == "wide":
        return choice(gen, TYPICAL_WIDE) if gen() < 0.7 else draw_range(gen, 0, WIDEST)
    low, high = RANGES[level]
    high = min(WIDEST_SHIFT / source_width, high)
    low = min(high - 0.1, low) if low else 0
    return choice(gen, TYPICAL[level]) if gen() < 0.7 else draw_range(gen, low, high)


def draw_mapper(gen: Uniform, metric: bool) -> str:
    usual, others = ("div_6", MAPPERS_METRIC) if metric else ("none", MAPPERS_RELATIVE)
    return usual if gen() < 0.7 else choice(gen, others)


def draw_positions(gen: Uniform) -> tuple[tuple[float, float], ...]:
    return tuple((gen(), gen()) for _ in range(CANDIDATES))


def draw_range(gen: Uniform, low: float, high: float) -> float:
    return round(low + (high - low) * gen(), 4)  # four digits keep a record's JSON short


def choice(gen: Uniform, items: Sequence[Item]) -> Item:
    return items[int(gen() * len(items))]
