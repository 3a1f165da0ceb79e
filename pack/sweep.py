"""Operations that pass along rows and columns from border to border and stop at the picture's edges.

T frames, C channels, H height, W width. Edges are a pair: steps along x (T 1 H W-1) and along y (T 1 H-1 W).
Each pass is a loop over one axis with all lines of all frames at once, so it costs the same however far values travel.
"""

import math

import torch

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
        x = _smooth(x.mT, torch.exp(across * (-math.sqrt(2) / sigma)))  # (T C W H)
        x = _smooth(x.mT, torch.exp(down * (-math.sqrt(2) / sigma)))  # (T C H W)
    return x


def shortest_way(start: torch.Tensor, cost: Edges, rounds: int = 2) -> torch.Tensor:  # (T 1 H W) -> same
    """For each pixel the least of start anywhere plus the cost of a way from there, over ways of a few turns."""
    across, down = _as_rows(cost)
    way = start
    for _ in range(rounds):
        way = _approach(way.contiguous(), down)
        way = _approach(way.mT.contiguous(), across).mT
    return way.contiguous()


def _as_rows(edge):  # both with their steps along the second last axis, over which a sweep goes
    return edge[0].mT.contiguous(), edge[1]


def _smooth(x, keep):  # (T C H W), (T 1 H-1 W) -> (T C H W)
    """Each row pulled to the one before it, down and up again, by this much."""
    x = x.clone(memory_format=torch.contiguous_format)
    row, keep = x.unbind(-2), keep.unbind(-2)
    for i in range(1, len(row)):
        row[i].lerp_(row[i - 1], keep[i - 1])
    for i in range(len(row) - 2, -1, -1):
        row[i].lerp_(row[i + 1], keep[i])
    return x


def _approach(x, cost):  # (T 1 H W), (T 1 H-1 W) -> (T 1 H W)
    """Each row no more than the one before it and the step from there, down and up again."""
    row, cost = x.clone().unbind(-2), cost.unbind(-2)
    for i in range(1, len(row)):
        torch.minimum(row[i], row[i - 1] + cost[i - 1], out=row[i])
    for i in range(len(row) - 2, -1, -1):
        torch.minimum(row[i], row[i + 1] + cost[i], out=row[i])
    return torch.stack(row, -2)
