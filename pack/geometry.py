"""Rotation, size and crops of clips.

T frames, H height, W width. All of it is done on the CPU in uint8, where PyTorch resizes seven times as fast as in
float, while the depth model is busy with the clip before.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

from pack.sampling import Draw


def reshape(frames: np.ndarray, draw: Draw) -> np.ndarray:  # uint8 (T H W 3) -> uint8 (T H' W' 3)
    """The clip rotated and resized as it was drawn."""
    if draw.rotation is not None:
        frames = rotate(frames, draw.rotation)
    return resize(frames, draw.short_side, draw.interpolation)


def rotate(frames: np.ndarray, degrees: float) -> np.ndarray:  # uint8 (T H W 3) -> uint8 (T S S 3)
    """The largest centred square that holds no black corner at any angle, out of frames rotated counter-clockwise."""
    height, width = frames.shape[1:3]
    side = int(min(height, width) / math.sqrt(2))
    y = torch.arange(side) + (height - side) // 2 + 0.5 - height / 2  # from the centre, pixels
    x = torch.arange(side) + (width - side) // 2 + 0.5 - width / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    source_x = x * cos - y[:, None] * sin  # (S S)
    source_y = x * sin + y[:, None] * cos
    grid = torch.stack([source_x * (2 / width), source_y * (2 / height)], dim=-1)[None]  # (1 S S 2) in [-1, 1]
    return np.stack([_sample(frame, grid) for frame in frames])


def _sample(frame, grid):  # uint8 (H W 3), (1 S S 2) -> uint8 (S S 3)
    image = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    turned = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return turned[0].round().byte().permute(1, 2, 0).numpy()


def resize(frames: np.ndarray, short_side: int, interpolation: str) -> np.ndarray:  # uint8 (T H W 3) -> (T H' W' 3)
    """The frames with this short side, antialiased; bicubic or bilinear."""
    height, width = frames.shape[1:3]
    if min(height, width) == short_side:
        return frames
    size = resized(height, width, short_side)
    out = np.empty((len(frames), *size, 3), np.uint8)
    for frame, place in zip(frames, out, strict=True):
        image = torch.from_numpy(frame).permute(2, 0, 1)[None]  # channels last in memory, the fast case
        place[:] = F.interpolate(image, size, mode=interpolation, antialias=True)[0].permute(1, 2, 0).numpy()
    return out


def resized(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width with this short side and, but for rounding down, the same aspect."""
    short = min(height, width)
    return height * short_side // short, width * short_side // short


def windows(size: int, shape: tuple[int, int], places: tuple) -> list[tuple[int, int]]:
    """The corners (x, y) of squares of this size in frames of shape (H, W).

    `places` are their positions (x, y), in [0, 1) of the room that there is.
    """
    height, width = shape
    return [(int(x * (width - size + 1)), int(y * (height - size + 1))) for x, y in places]


def best_window(masks: np.ndarray, size: int, corners: list[tuple[int, int]]) -> tuple[int, int, int]:
    """x, y and half holes over all frames of the square with the most holes in uint8 (T H W); the first of several."""
    counts = [int(masks[:, y : y + size, x : x + size].sum(dtype=np.int64)) for x, y in corners]
    best = counts.index(max(counts))
    return *corners[best], counts[best]
