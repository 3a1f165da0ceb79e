"""How steady depth is over time: its mean change from frame to frame on pixels of the film that do not change.

T frames, H height, W width of the frames; h, w of the depth. On still pixels the true depth changes only where the
camera or an object moves along the line of sight, so this mean is flicker, in parts of the range of nearness.
"""

import torch
import torch.nn.functional as F

STILL = 2.5 / 255  # change of every colour, averaged over 5x5 pixels of the depth map, up to which a pixel is still
RADIUS = 2


def still_change(frames: torch.Tensor, depth: torch.Tensor) -> tuple[float, int]:
    """The summed change of nearness on still pixels, and their number, over consecutive frames of a shot.

    frames float (T 3 H W) in [0, 1], depth (T 1 h w) in [0, 1]. Sums, so that parts of a film can be added.
    """
    small = F.interpolate(frames, depth.shape[-2:], mode="bilinear", antialias=True)
    change = F.avg_pool2d((small[1:] - small[:-1]).abs(), 2 * RADIUS + 1, 1, RADIUS, count_include_pad=False)
    still = change.amax(1, keepdim=True) < STILL
    return float((depth[1:] - depth[:-1]).abs()[still].sum()), int(still.sum())
