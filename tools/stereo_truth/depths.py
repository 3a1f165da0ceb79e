"""The nearness that a warp is given: the scene's own, the same as a depth model would give it, or an estimate.

T frames, H height, W width of the frames; h, w of the nearness.
"""

import numpy as np
import torch

from pack.depth.models import OFFLINE, load_depth
from pack.depth.motion import SHORT_SIDE
from tools.truth.degrade import degrade, draw_degradation

EXACT, DEGRADED = "exact", "degraded"
KINDS = (EXACT, DEGRADED, OFFLINE)
IW3_DILATION = 2


def edge_dilation(kind: str) -> int:
    """Pixels of the depth map by which near sides are grown before the warp: iw3's remedy for soft edges of depth."""
    return 0 if kind == EXACT else IW3_DILATION


def nearness_of(
    kind: str, left: np.ndarray, exact: np.ndarray, film_size: tuple[int, int], seed: int
) -> torch.Tensor:  # uint8 (T H W 3), float32 (T H W) -> (T 1 h w) in [0, 1]
    """The nearness of this kind for a part of a film of this width and height, at the size it would have there."""
    if kind == EXACT:
        return torch.from_numpy(exact)[:, None]
    if kind == DEGRADED:
        return degrade(exact, min(film_size), draw_degradation(np.random.default_rng(seed), seed))
    share = min(left.shape[1:3]) / min(film_size)
    frames = torch.from_numpy(left).permute(0, 3, 1, 2).float() / 255
    raw = load_depth(kind, max(64, round(SHORT_SIDE * min(share, 1))))(frames).clone().float()
    return ((raw - raw.min()) / (raw.max() - raw.min()).clamp(min=1e-6)).clamp(0, 1)  # over the clip, as in records
