"""The nearness that a warp is given: the scene's own, as a depth model would give it, an estimate, or from files.

T frames, H height, W width of the frames; h, w of the nearness.
"""

import numpy as np
import torch

from pack.depth.model_files import OFFLINE
from pack.depth.models import load_depth
from pack.depth.motion import SHORT_SIDE
from tools.stereo_truth.depth_files import IW3_DILATION, Nearness, read_nearness
from tools.truth.degrade import degrade, draw_degradation

EXACT, DEGRADED = "exact", "degraded"
KINDS = (EXACT, DEGRADED, OFFLINE)


def nearness_of(
    kind: str, scene: str, left: np.ndarray, exact: np.ndarray, film_size: tuple[int, int], seed: int
) -> Nearness:  # uint8 (T H W 3), float32 (T H W)
    """The nearness of this kind for a part of a film of this width and height, at the size it would have there.

    A kind that is none of KINDS is a folder of depth that another program wrote of the scenes' left eyes.
    """
    if kind == EXACT:
        return Nearness(torch.from_numpy(exact)[:, None], 0)
    if kind == DEGRADED:
        draws = draw_degradation(np.random.default_rng(seed), seed)
        return Nearness(degrade(exact, min(film_size), draws), IW3_DILATION)
    if kind not in KINDS:
        return read_nearness(kind, scene, left)
    share = min(left.shape[1:3]) / min(film_size)
    frames = torch.from_numpy(left).permute(0, 3, 1, 2).float() / 255
    raw = load_depth(kind, max(64, round(SHORT_SIDE * min(share, 1))))(frames).clone().float()
    near = ((raw - raw.min()) / (raw.max() - raw.min()).clamp(min=1e-6)).clamp(0, 1)  # over the clip, as in records
    return Nearness(near, IW3_DILATION)
