"""Operations that pass along rows and columns from border to border and stop at the picture's edges.

T frames, C channels, H height, W width. Edges are a pair: steps along x (T 1 H W-1) and along y (T 1 H-1 W).
Each pass is a loop over one axis with all lines of all frames at once, so it costs the same however far values travel.
"""

import math

import torch

from pack.kernels.filters import approach, smooth

Edges = tuple[torch.Tensor, torch.Tensor]


def edges(picture: torch.Tensor) -> Edges:  # (T C H W) -> (T 1 H W-1), (T 1 H-1 W)
    """The largest change of a channel from each pixel to the next."""
    return picture.diff(dim=-1).abs().amax(1, keepdim=True), picture.diff(dim=-2).abs().amax(1, keepdim=True)


def diffuse(x: torch.Tensor, edge: Edges, reach: float, contrast: float, rounds: int = 2) -> torch.Tensor:
    """x (T C H W) averaged over about reach pixels, less across edges of the given contrast and more.

    Gastal and Oliveira, "Domain Transform for Edge-Aware Image and Video Processing", section 4.2.
    """
    across, down = (1 + step * (reach / contrast) for step in _as_rows(edge))
    for i in range(rounds):
        sigma = reach * math.sqrt(3) * 2 ** (rounds - 1 - i) / math.sqrt(4**rounds - 1)
        x = smooth(x.mT, torch.exp(across * (-math.sqrt(2) / sigma)))  # (T C W H)
        x = smooth(x.mT, torch.exp(down * (-math.sqrt(2) / sigma)))  # (T C H W)
    return x


def shortest_way(start: torch.Tensor, cost: Edges, rounds: int = 2) -> torch.Tensor:  # (T 1 H W) -> same
    """For each pixel the least of start anywhere plus the cost of a way from there, over ways of a few turns."""
    across, down = _as_rows(cost)
    way = start
    for _ in range(rounds):
        way = approach(way, down)
        way = approach(way.mT, across).mT
    return way.contiguous()


def _as_rows(edge):  # both with their steps along the second last axis, over which a sweep goes
    return edge[0].mT.contiguous(), edge[1]
