"""Looks: appearance augmentation of a tile for training on few films. iw3 has none of this.

A network trained on one film overfits to its colours, its sharpness and the size of its holes. A look halves the size
of the content, flips it vertically, changes colours and contrast, and blurs it as lenses, upscaling and compression
do. The background of a hole still begins at its right end.
"""

import math
from dataclasses import dataclass
from itertools import permutations

import torch
import torch.nn.functional as F

CHANNELS = tuple(permutations(range(3), 3))
MIN_BLUR, MAX_BLUR = 0.5, 3.0  # standard deviation of the blur, pixels


@dataclass(frozen=True)
class Look:
    """Random parameters of the look of one sample."""

    shrink: int  # factor by which height and width are reduced
    upside_down: bool
    channels: tuple[int, int, int]  # source channels of red, green and blue
    gain: tuple[float, ...]  # value = (value - pivot) * gain + level, clipped; () changes nothing
    pivot: float
    level: float
    blur: float  # standard deviation of a Gaussian, pixels; 0: none


def draw_look(gen: torch.Generator) -> Look:
    """The look of a training slot. The number of draws is fixed, so that none depends on another's value."""
    u = torch.rand(13, generator=gen, dtype=torch.float64).tolist()
    contrast = 4 ** (u[4] - 0.5)  # half to double
    return Look(
        shrink=2 if u[12] < 0.5 else 1,
        upside_down=u[0] < 0.5,
        channels=CHANNELS[int(u[2] * len(CHANNELS))] if u[1] < 0.5 else (0, 1, 2),
        gain=tuple(contrast * 2 ** (v - 0.5) for v in u[5:8]) if u[3] < 0.5 else (),
        pivot=0.2 + 0.4 * u[8],
        level=0.2 + 0.6 * u[9],
        blur=MIN_BLUR * (MAX_BLUR / MIN_BLUR) ** u[11] if u[10] < 0.5 else 0.0,
    )


def shrink(frames: torch.Tensor, holes: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames (T 3 S S) averaged over squares; holes bool (T 1 S S) are set where any part of the square is hidden."""
    if factor == 1:
        return frames, holes
    return F.avg_pool2d(frames, factor), F.max_pool2d(holes.float(), factor) > 0


def apply_look(
    frames: torch.Tensor, holes: torch.Tensor, look: Look
) -> tuple[torch.Tensor, torch.Tensor]:  # float (T 3 S S) in [0, 1], bool (T 1 S S) -> same
    """The frames, already shrunk, with the same look applied to all of them, and their holes."""
    if look.upside_down:
        frames, holes = frames.flip(2), holes.flip(2)
    if look.channels != (0, 1, 2):
        frames = frames[:, list(look.channels)]
    if look.gain:
        gain = frames.new_tensor(look.gain).view(3, 1, 1)
        frames = (frames - look.pivot).mul_(gain).add_(look.level).clamp_(0, 1)
    return blur(frames, look.blur), holes


def blur(frames: torch.Tensor, sigma: float) -> torch.Tensor:  # float (T 3 H W) -> same
    """A Gaussian blur with mirrored borders."""
    if sigma == 0:
        return frames
    radius = math.ceil(3 * sigma)
    x = torch.arange(-radius, radius + 1, dtype=frames.dtype)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    planes = frames.flatten(0, 1)[:, None]
    planes = F.conv2d(F.pad(planes, (radius, radius, 0, 0), mode="reflect"), kernel)
    planes = F.conv2d(F.pad(planes, (0, 0, radius, radius), mode="reflect"), kernel.transpose(2, 3))
    return planes[:, 0].unflatten(0, frames.shape[:2])
