"""iw3's warps: from the left eye and its nearness to the right eye and its holes.

T frames, H height, W width of the frames; h, w of the nearness.
"""

from dataclasses import replace
from fractions import Fraction

import torch

from pack.holes.kinds import KINDS, MLBW
from tools.synthesis.views import Geometry, see

WARPS = KINDS


def known_warps(has_network: bool) -> tuple[str, ...]:
    """The names of the warps that can run; the learned one needs iw3's file of its network."""
    return tuple(name for name in WARPS if name != MLBW or has_network)


def warp(
    name: str, left: torch.Tensor, nearness: torch.Tensor, how: Geometry
) -> tuple[torch.Tensor, torch.Tensor]:  # (T 3 H W), (T 1 h w) -> float (T 3 H W), 0 in holes; bool (T 1 H W)
    """The right eye as `make stereo` makes it with this warp."""
    how = replace(how, method=name)
    views = [see(Fraction(t), left[t : t + 1], nearness[t : t + 1], how) for t in range(len(left))]
    return torch.stack([view.right for view in views]), torch.stack([view.holes for view in views])
