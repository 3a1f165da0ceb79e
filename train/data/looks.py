"""Looks: the same tile as another film might have shown it. iw3 has none of this; it is for training on few films.

A network that has seen one film knows its colours, its sharpness and the size of its holes. A look halves the size of
what the tile shows, turns it upside down, gives it other colours and contrasts, and softens it as lenses, upscaling and
compression do. What is hidden stays behind the right end of its hole.
"""

import math
from dataclasses import dataclass
from itertools import permutations

import torch
import torch.nn.functional as F

CHANNELS = tuple(permutations(range(3)))
SOFTEST = 3.0  # standard deviation of the blur, pixels; the least is SHARPEST
SHARPEST = 0.5


@dataclass(frozen=True)
class Look:
    """What chance says of the look of one slot."""

    shrink: int  # how many pixels of the record become one, in height and width
    upside_down: bool
    channels: tuple[int, int, int]  # where red, green and blue come from
    gain: tuple[float, ...]  # value = (value - pivot) * gain + level, clipped as an exposure is; () changes nothing
    pivot: float
    level: float
    blur: float  # standard deviation of a Gaussian, pixels; 0: none


def draw_look(gen: torch.Generator) -> Look:
    """The look of a training slot. The number of draws is fixed, so that no draw depends on another's outcome."""
    u = torch.rand(13, generator=gen, dtype=torch.float64).tolist()
    contrast = 4 ** (u[4] - 0.5)  # half to double
    return Look(
        shrink=2 if u[12] < 0.5 else 1,
        upside_down=u[0] < 0.5,
        channels=CHANNELS[int(u[2] * len(CHANNELS))] if u[1] < 0.5 else (0, 1, 2),
        gain=tuple(contrast * 2 ** (v - 0.5) for v in u[5:8]) if u[3] < 0.5 else (),
        pivot=0.2 + 0.4 * u[8],
        level=0.2 + 0.6 * u[9],
        blur=SHARPEST * (SOFTEST / SHARPEST) ** u[11] if u[10] < 0.5 else 0.0,
    )


def shrink(frames: torch.Tensor, holes: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames (T 3 S S) averaged over squares; holes bool (T 1 S S) are where a part is hidden."""
    if factor == 1:
        return frames, holes
    return F.avg_pool2d(frames, factor), F.max_pool2d(holes.float(), factor) > 0


def apply_look(
    frames: torch.Tensor, holes: torch.Tensor, look: Look
) -> tuple[torch.Tensor, torch.Tensor]:  # float (T 3 S S) in [0, 1], bool (T 1 S S) -> same
    """The frames, shrunk before, with that look, alike in all of them, and their holes."""
    if look.upside_down:
        frames, holes = frames.flip(2), holes.flip(2)
    if look.channels != (0, 1, 2):
        frames = frames[:, list(look.channels)]
    if look.gain:
        gain = frames.new_tensor(look.gain).view(3, 1, 1)
        frames = (frames - look.pivot).mul_(gain).add_(look.level).clamp_(0, 1)
    return soften(frames, look.blur), holes


def soften(frames: torch.Tensor, sigma: float) -> torch.Tensor:  # float (T 3 H W) -> same
    """A Gaussian blur; beyond the border the picture is mirrored."""
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
