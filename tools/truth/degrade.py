"""Exact nearness made like that of a depth model: small, blurred, shifted and noisy.

T frames, H height, W width of the frames; h, w of the depth map.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

MODEL_SIDE = 392  # pixels of a depth map's shorter side


@dataclass(frozen=True)
class Degradation:
    """What is wrong with a clip's depth; lengths in pixels of the depth map."""

    blur: float  # standard deviation
    shift: tuple[float, float]  # x, y
    noise: float  # standard deviation of smooth errors that stay where they are for some frames
    flicker: float  # standard deviation of the scale, from frame to frame
    seed: int


def draw_degradation(random: np.random.Generator, seed: int) -> Degradation:
    """What is wrong with one clip's depth."""
    return Degradation(
        blur=round(float(random.uniform(0, 1.2)), 3),
        shift=(round(float(random.normal(0, 0.5)), 3), round(float(random.normal(0, 0.3)), 3)),
        noise=round(float(random.uniform(0, 0.012)), 4),
        flicker=round(float(random.uniform(0, 0.006)), 4),
        seed=seed,
    )


def degrade(nearness: np.ndarray, film_short_side: int, how: Degradation) -> torch.Tensor:
    """Nearness float32 (T H W) of a part of a film's frames -> (T 1 h w) in [0, 1] as a model gives it."""
    height, width = nearness.shape[1:]
    scale = min(MODEL_SIDE / film_short_side, 1)
    size = max(8, round(height * scale)), max(8, round(width * scale))
    depth = F.interpolate(torch.from_numpy(nearness)[:, None], size, mode="bilinear", antialias=True)
    depth = _move(_blur(depth, how.blur), how.shift)
    random = np.random.Generator(np.random.PCG64([how.seed, 3]))
    depth = depth + how.noise * _smooth_noise(random, len(depth), size)
    gains = 1 + how.flicker * random.standard_normal((len(depth), 1, 1, 1))
    return (depth * torch.from_numpy(gains).float()).clamp(0, 1)


def _blur(depth, sigma):
    if sigma < 0.1:
        return depth
    radius = int(3 * sigma) + 1
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    taps = taps / taps.sum()
    depth = F.conv2d(F.pad(depth, (radius, radius, 0, 0), mode="replicate"), taps.view(1, 1, 1, -1))
    return F.conv2d(F.pad(depth, (0, 0, radius, radius), mode="replicate"), taps.view(1, 1, -1, 1))


def _move(depth, shift):
    height, width = depth.shape[-2:]
    y = (torch.arange(height) - shift[1] + 0.5) * (2 / height) - 1
    x = (torch.arange(width) - shift[0] + 0.5) * (2 / width) - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1).expand(len(depth), -1, -1, -1)
    return F.grid_sample(depth, grid, padding_mode="border", align_corners=False)


def _smooth_noise(random, frames, size):  # -> (T 1 h w)
    """Noise of about 16 pixels in space and 8 frames in time."""
    coarse = [-(-frames // 8) + 1, size[0] // 16 + 2, size[1] // 16 + 2]
    noise = torch.from_numpy(random.standard_normal((1, 1, *coarse), np.float32))
    return F.interpolate(noise, (frames, *size), mode="trilinear", align_corners=True)[0, 0][:, None]
