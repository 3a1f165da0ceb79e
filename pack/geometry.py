"""Rotation, resizing and cropping of clips.

T frames, H height, W width. All of it runs on the CPU in uint8, where PyTorch resizes seven times as fast as in float,
while the depth model computes the previous clip.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from pack.sampling import ClipParams


class BestWindow(NamedTuple):
    """The corner (x, y) of a square crop, and its holes over all frames, in halves."""

    x: int
    y: int
    half_holes: int


def transform(frames: np.ndarray, params: ClipParams) -> np.ndarray:  # uint8 (T H W 3) -> uint8 (T H' W' 3)
    """The clip rotated and resized by its random parameters."""
    if params.rotation is not None:
        frames = rotate(frames, params.rotation)
    return resize(frames, params.short_side, params.interpolation)


def transform_depth(
    depth: np.ndarray, size: tuple[int, int], rotation: float | None
) -> np.ndarray:  # float32 (T 1 h w), (H, W) of the frames -> float32 (T 1 h' w')
    """Depth maps rotated as `transform` rotates their frames; first they get the aspect ratio of these."""
    if rotation is None:
        return depth
    height, width = depth.shape[-2:]
    if height * size[1] > width * size[0]:
        even = (height, round(height * size[1] / size[0]))
    else:
        even = (round(width * size[0] / size[1]), width)
    maps = torch.from_numpy(depth)
    if even != (height, width):
        maps = F.interpolate(maps, even, mode="bilinear")
    grid = rotated_grid(*even, rotation)
    return _sample_maps(maps, grid).numpy()


def _sample_maps(maps, grid):  # (T 1 h w), (1 S S 2) -> (T 1 S S)
    return F.grid_sample(maps, grid.expand(len(maps), -1, -1, -1), padding_mode="border", align_corners=False)


def rotate(frames: np.ndarray, degrees: float) -> np.ndarray:  # uint8 (T H W 3) -> uint8 (T S S 3)
    """Frames rotated counter-clockwise, cropped to the largest centred square that never shows a black corner."""
    grid = rotated_grid(frames.shape[1], frames.shape[2], degrees)
    return np.stack([_sample(frame, grid) for frame in frames])


def rotated_grid(height: int, width: int, degrees: float) -> torch.Tensor:  # -> (1 S S 2) in [-1, 1]
    """Where the pixels of the rotated square come from."""
    side = max(1, int(min(height, width) / math.sqrt(2)))
    y = torch.arange(side) + (height - side) // 2 + 0.5 - height / 2  # from the centre, pixels
    x = torch.arange(side) + (width - side) // 2 + 0.5 - width / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    source_x = x * cos - y[:, None] * sin  # (S S)
    source_y = x * sin + y[:, None] * cos
    return torch.stack([source_x * (2 / width), source_y * (2 / height)], dim=-1)[None]


def _sample(frame, grid):  # uint8 (H W 3), (1 S S 2) -> uint8 (S S 3)
    image = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    rotated = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return rotated[0].round().byte().permute(1, 2, 0).numpy()


def resize(frames: np.ndarray, short_side: int, interpolation: str) -> np.ndarray:  # uint8 (T H W 3) -> (T H' W' 3)
    """The frames with this short side, antialiased; `interpolation` is bicubic or bilinear."""
    height, width = frames.shape[1:3]
    if min(height, width) == short_side:
        return frames
    size = resized(height, width, short_side)
    out = np.empty((len(frames), *size, 3), np.uint8)
    for frame, target in zip(frames, out, strict=True):
        image = torch.from_numpy(frame).permute(2, 0, 1)[None]  # channels last in memory, the fast case
        target[:] = F.interpolate(image, size, mode=interpolation, antialias=True)[0].permute(1, 2, 0).numpy()
    return out


def resized(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width with this short side and the same aspect ratio; the long side is rounded down."""
    short = min(height, width)
    return height * short_side // short, width * short_side // short


def windows(size: int, shape: tuple[int, int], positions: tuple[tuple[float, float], ...]) -> list[tuple[int, int]]:
    """The corners (x, y) of squares of this size in frames of shape (H, W).

    `positions` are (x, y) in [0, 1): 0 is the left or upper border, 1 the last possible corner.
    """
    height, width = shape
    return [(int(x * (width - size + 1)), int(y * (height - size + 1))) for x, y in positions]


def best_window(masks: np.ndarray, size: int, corners: list[tuple[int, int]]) -> BestWindow:
    """The square with the most holes in uint8 (T H W); the first one of several."""
    counts = [int(masks[:, y : y + size, x : x + size].sum(dtype=np.int64)) for x, y in corners]
    best = counts.index(max(counts))
    return BestWindow(*corners[best], counts[best])
