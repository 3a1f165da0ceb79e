"""Boards: rankings by one measure each, with means, ranks, differences and rank correlation."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tools.evaluation.summary import RESAMPLES, Interval, interval


@dataclass(frozen=True)
class Board:
    """One measure, of which higher is better, of all methods on the same clips."""

    name: str  # of the source: a split, or rendered truth with a depth
    measure: str  # its title
    truth: bool  # whether a true second eye is measured
    values: dict[str, np.ndarray]  # by method, (clips)
    seed: int = 0

    @property
    def title(self) -> str:
        return f"{self.name}: {self.measure}"

    @property
    def clips(self) -> int:
        return len(next(iter(self.values.values())))

    def mean(self, method: str) -> Interval:
        return interval(self.values[method], self.seed)

    def difference(self, method: str, other: str) -> Interval:
        """Paired by clip."""
        return interval(self.values[method] - self.values[other], self.seed)


@dataclass(frozen=True)
class Rank:
    """A method's rank, 1 the best, and the 95 % interval of its ranks over bootstrap samples of clips."""

    place: int
    low: int
    high: int


def ranks(board: Board) -> dict[str, Rank]:
    """The place of every method; of equal means the first method has the better one."""
    values = np.stack(list(board.values.values()))  # (methods clips)
    draws = np.random.default_rng(board.seed).integers(board.clips, size=(RESAMPLES, board.clips))
    places = places_of(values.mean(1)[None])[0]
    redrawn = places_of(values[:, draws].mean(2).T)  # (draws methods)
    low, high = np.quantile(redrawn, (0.025, 0.975), axis=0, method="nearest")
    return {name: Rank(int(places[n]), int(low[n]), int(high[n])) for n, name in enumerate(board.values)}


def places_of(means: np.ndarray) -> np.ndarray:  # (N methods) -> int (N methods), 1 for the largest
    order = np.argsort(-means, axis=1, kind="stable")
    return np.argsort(order, axis=1, kind="stable") + 1


def correlation(one: Board, other: Board) -> float:
    """Spearman's rank correlation over all methods: 1 where both boards rank alike, -1 where one is reversed.

    Pearson's correlation of the places; equal means share the mean of their places. nan with fewer than 3 methods or
    where all are equal.
    """
    means = [np.array([board.values[name].mean() for name in one.values]) for board in (one, other)]
    if len(means[0]) < 3:
        return float("nan")
    a, b = (shared_places(values) for values in means)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size else float("nan")


def shared_places(values: np.ndarray) -> np.ndarray:  # (N,) -> (N,)
    """Places from 1 for the smallest; equal values have the mean of their places."""
    below = (values[None] < values[:, None]).sum(1)
    equal = (values[None] == values[:, None]).sum(1)
    return below + (equal + 1) / 2


def board_as_json(board: Board, first: str) -> dict[str, Any]:
    """Everything that the page shows of a board."""
    places = ranks(board)
    return {
        "source": board.name,
        "measure": board.measure,
        "true_second_eye": board.truth,
        "clips": board.clips,
        "methods": {
            name: asdict(board.mean(name))
            | {"rank": asdict(places[name])}
            | ({} if name == first else {"against_first": asdict(board.difference(name, first))})
            for name in board.values
        },
    }


def correlations(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """Of each pair of boards."""
    return [
        {"one": one.title, "other": other.title, "spearman": correlation(one, other)}
        for n, one in enumerate(boards)
        for other in boards[n + 1 :]
    ]
