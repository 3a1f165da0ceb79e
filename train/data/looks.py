"""Looks: appearance augmentation of a tile for training on few films. iw3 has none of this.

A network trained on one film overfits to its colours, its sharpness and the size of its holes. A look halves the size
of the content, flips it vertically, changes colours and contrast, and blurs it as lenses, upscaling and compression
do. The background of a hole still begins at its right end. B samples, T frames, S side of the tile.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import torch
import torch.nn.functional as F

MAX_SHRINK = 2
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
        shrink=MAX_SHRINK if u[12] < 0.5 else 1,
        upside_down=u[0] < 0.5,
        channels=CHANNELS[int(u[2] * len(CHANNELS))] if u[1] < 0.5 else (0, 1, 2),
        gain=tuple(contrast * 2 ** (v - 0.5) for v in u[5:8]) if u[3] < 0.5 else (),
        pivot=0.2 + 0.4 * u[8],
        level=0.2 + 0.6 * u[9],
        blur=MIN_BLUR * (MAX_BLUR / MIN_BLUR) ** u[11] if u[10] < 0.5 else 0.0,
    )


def shrink(frames: torch.Tensor, holes: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames (B T 3 S S) averaged over squares; holes bool (B T 1 S S) are set where any part of one is hidden."""
    if factor == 1:
        return frames, holes
    pooled = F.avg_pool2d(frames.flatten(0, 1), factor), F.max_pool2d(holes.flatten(0, 1).float(), factor) > 0
    return pooled[0].unflatten(0, frames.shape[:2]), pooled[1].unflatten(0, frames.shape[:2])


def apply_looks(
    frames: torch.Tensor, holes: torch.Tensor, looks: Sequence[Look | None]
) -> tuple[torch.Tensor, torch.Tensor]:  # float (B T 3 S S) in [0, 1], bool (B T 1 S S), B -> same, perhaps in place
    """The frames, already shrunk, with each sample's look applied to all of its frames, and their holes."""
    for b, look in enumerate(looks):
        if look and look.upside_down:
            frames[b], holes[b] = frames[b].flip(-2), holes[b].flip(-2)
        if look and look.channels != (0, 1, 2):
            frames[b] = frames[b][:, list(look.channels)]
    if any(look and look.gain for look in looks):
        numbers = [_contrast(look) for look in looks]
        pivot, gain, level = frames.new_tensor(numbers)[..., None, None].unbind(1)  # each (B 3 1 1)
        frames.sub_(pivot[:, None]).mul_(gain[:, None]).add_(level[:, None]).clamp_(0, 1)
    blurred = [b for b, look in enumerate(looks) if look and look.blur]
    if blurred:
        frames[blurred] = blur(frames[blurred], [looks[b].blur for b in blurred])
    return frames, holes


def blur(frames: torch.Tensor, sigmas: Sequence[float]) -> torch.Tensor:  # float (B T 3 S S), B -> same
    """A Gaussian blur of each sample with mirrored borders.

    Sums of shifted frames take a tenth of the time of torch's convolutions of one channel on a CPU.
    """
    radius = max(math.ceil(3 * sigma) for sigma in sigmas)
    taps = frames.new_tensor([_taps(sigma, radius) for sigma in sigmas])[:, :, None, None, None, None]  # (B taps ...)
    for axis, padding in ((-1, (radius, radius, 0, 0)), (-2, (0, 0, radius, radius))):
        length = frames.shape[axis]
        padded = F.pad(frames.flatten(0, 1), padding, mode="reflect").unflatten(0, frames.shape[:2])
        frames = padded.narrow(axis, 0, length) * taps[:, 0]
        for step in range(1, 2 * radius + 1):
            frames.addcmul_(padded.narrow(axis, step, length), taps[:, step])
    return frames


def _contrast(look: Look | None) -> list[list[float]]:  # -> pivot, gain and level by channel
    if look and look.gain:
        return [[look.pivot] * 3, list(look.gain), [look.level] * 3]
    return [[0.0] * 3, [1.0] * 3, [0.0] * 3]


def _taps(sigma: float, radius: int) -> list[float]:
    """The Gaussian up to three standard deviations, with zeros up to the radius."""
    reach = math.ceil(3 * sigma)
    x = torch.arange(-reach, reach + 1, dtype=torch.float32)
    taps = torch.exp(-0.5 * (x / sigma) ** 2)
    zeros = [0.0] * (radius - reach)
    return zeros + (taps / taps.sum()).tolist() + zeros
