"""iw3's warps: from the left eye and its nearness to the right eye and its holes.

T frames, H height, W width of the frames; h, w of the nearness. Another warp is one more entry of WARPS.
"""

from collections.abc import Callable
from fractions import Fraction

import torch

from tools.synthesis.views import Geometry, see

Warp = Callable[[torch.Tensor, torch.Tensor, Geometry], tuple[torch.Tensor, torch.Tensor]]


def forward(left: torch.Tensor, nearness: torch.Tensor, how: Geometry) -> tuple[torch.Tensor, torch.Tensor]:
    """Forward warp, as `make stereo` does it: (T 3 H W), (T 1 h w) -> (T 3 H W), 0 in holes; bool (T 1 H W)."""
    views = [see(Fraction(t), left[t : t + 1], nearness[t : t + 1], how) for t in range(len(left))]
    return torch.stack([view.right for view in views]), torch.stack([view.holes for view in views])


WARPS: dict[str, Warp] = {"forward": forward}
