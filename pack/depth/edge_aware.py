"""Edge-aware filters: recursive along rows and columns, and stopped by the edges of the frame.

T frames, C channels, H height, W width. Edges are a pair: steps along x (T 1 H W-1) and along y (T 1 H-1 W). Each pass
is one loop over an axis, so its cost does not depend on the filter's reach.
"""

import math

import torch

from pack.kernels.filters import least_cost, smooth

Edges = tuple[torch.Tensor, torch.Tensor]


def edges(frames: torch.Tensor) -> Edges:  # (T C H W) -> (T 1 H W-1), (T 1 H-1 W)
    """The largest absolute difference of any channel between neighbouring pixels."""
    return frames.diff(dim=-1).abs().amax(1, keepdim=True), frames.diff(dim=-2).abs().amax(1, keepdim=True)


def diffuse(x: torch.Tensor, edge: Edges, reach: float, contrast: float, rounds: int = 2) -> torch.Tensor:
    """x (T C H W) averaged over about `reach` pixels, but hardly across edges of this contrast or more.

    Gastal and Oliveira, "Domain Transform for Edge-Aware Image and Video Processing", section 4.2.
    """
    across, down = (1 + step * (reach / contrast) for step in _as_rows(edge))
    for i in range(rounds):
        sigma = reach * math.sqrt(3) * 2 ** (rounds - 1 - i) / math.sqrt(4**rounds - 1)
        x = smooth(x.mT, torch.exp(across * (-math.sqrt(2) / sigma)))  # (T C W H)
        x = smooth(x.mT, torch.exp(down * (-math.sqrt(2) / sigma)))  # (T C H W)
    return x


def cheapest_path_costs(start: torch.Tensor, cost: Edges, rounds: int = 2) -> torch.Tensor:  # (T 1 H W) -> same
    """For each pixel the least start cost plus path cost from any pixel, over paths of a few turns (2 per round)."""
    across, down = _as_rows(cost)
    total = start
    for _ in range(rounds):
        total = least_cost(total, down)
        total = least_cost(total.mT, across).mT
    return total.contiguous()


def _as_rows(edge):  # both transposed so that their steps lie along the second last axis, which the filters loop over
    return edge[0].mT.contiguous(), edge[1]
