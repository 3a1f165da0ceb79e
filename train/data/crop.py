"""From a record to a sample: frames, tile and augmentation, as pure functions of random parameters.

T frames (12), H height and W width of the record, S side of the tile. iw3's augmentations in iw3's order; colour jitter
changes each pixel independently, so it is applied to the tile only.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from model.morphology import dilate_inner, dilate_outer
from pack.shards.record import Box
from tools.cli import UserError
from train.data.looks import Look, apply_look, draw_look, shrink

EVAL_STRIDE = 64  # pixels between the candidate windows of evaluation
TILES = 4  # random candidate windows of training


class DoesNotFit(UserError):
    """A record is too small or too short for the settings."""


@dataclass(frozen=True)
class AugmentParams:
    """Random augmentation parameters of one sample, drawn before its record is read. Fractions are in [0, 1)."""

    reverse: bool
    start: float
    jitter: tuple[tuple[float, ...], tuple[float, ...]] | str | None  # (scale, bias) by channel, "gray" or none
    outer: int  # pixels by which holes are dilated to the right
    inner: int  # and to the left
    tiles: tuple[tuple[float, float], ...]  # (y, x) of each candidate window
    look: Look | None = None  # with --augment strong


def draw_params(gen: torch.Generator, strong: bool = False) -> AugmentParams:
    """Random parameters of a training slot. The number of draws is fixed, so that none depends on another's value."""
    u = torch.rand(14, generator=gen, dtype=torch.float64).tolist()
    tiles = torch.rand(TILES, 2, generator=gen, dtype=torch.float64).tolist()
    return AugmentParams(
        reverse=u[0] < 0.5,
        start=u[1],
        jitter=None if u[2] < 0.5 else "gray" if u[3] < 0.05 else _jitter(u[4:7], u[7:10]),
        outer=1 + int(u[11] * 20) if u[10] < 0.5 else 0,
        inner=1 + int(u[13] * 4) if u[12] < 0.25 else 0,
        tiles=tuple((y, x) for y, x in tiles),
        look=draw_look(gen) if strong else None,
    )


def frame_indexes(available: int, frames: int, params: AugmentParams | None) -> list[int]:
    """The consecutive frames that a slot shows, in its order; without parameters the middle ones, for evaluation."""
    if available < frames:
        raise DoesNotFit(f"found {available} frames, expected at least {frames}: pack with --seq {frames} or more")
    if params is None:
        start = (available - frames) // 2
        return list(range(start, start + frames))
    start = int(params.start * (available - frames + 1))
    indexes = list(range(start, start + frames))
    return [available - 1 - t for t in indexes] if params.reverse else indexes


def augment_masks(masks: torch.Tensor, params: AugmentParams | None) -> torch.Tensor:  # uint8 (T H W) -> same
    """Masks with their holes dilated; a dilated mask has no half values."""
    if params is None or not params.outer + params.inner:
        return masks
    holes = masks.bool()  # takes a fifth of the time of a comparison
    return dilate_inner(dilate_outer(holes, params.outer), params.inner).view(torch.uint8) * 255


def choose_tile(
    masks: torch.Tensor, side: int, params: AugmentParams | None
) -> tuple[int, int]:  # uint8 (T H W) -> y, x
    """The candidate window with the most hidden pixels, the first one on ties."""
    height, width = masks.shape[1:]
    if side > min(height, width):
        raise DoesNotFit(
            f"tile {side} does not fit {width}x{height} records: pass --tile {min(height, width) // 8 * 8} or less"
        )
    rows, columns = height - side + 1, width - side + 1
    if params is None:
        windows = [(y, x) for y in range(0, rows, EVAL_STRIDE) for x in range(0, columns, EVAL_STRIDE)]
    else:
        windows = [(int(y * rows), int(x * columns)) for y, x in params.tiles]
    plane = masks.numpy().sum(0, dtype=np.int32)  # torch takes five times as long
    sums = [plane[y : y + side, x : x + side].sum(dtype=np.int64) for y, x in windows]
    return windows[int(np.argmax(sums))]


def to_float(pixels: np.ndarray) -> torch.Tensor:  # uint8 (T S S 3) -> float (T 3 S S) in [0, 1]
    """Pixels in the form that the network takes."""
    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    frames = torch.empty(planes.shape)
    for to, plane in zip(frames, planes, strict=True):  # one frame fits the processor's cache, twelve do not
        to.copy_(plane).div_(255)
    return frames


def jitter_(frames: torch.Tensor, params: AugmentParams | None) -> torch.Tensor:  # float (T 3 S S) -> same, in place
    """The same colour change in all frames."""
    if params is None or params.jitter is None:
        return frames
    if params.jitter == "gray":
        return frames.copy_(frames.mean(1, keepdim=True))
    scale, bias = (frames.new_tensor(values).view(3, 1, 1) for values in params.jitter)
    for frame in frames:
        frame.mul_(scale).add_(bias).clamp_(0, 1)
    return frames


def cut(
    frames: Callable[[Box], np.ndarray], masks: np.ndarray, side: int, params: AugmentParams | None
) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int]]:
    """The sample's frames float (T 3 S S) in [0, 1], its holes bool (T 1 S S), and the corner of its tile (y, x).

    masks are uint8 (T H W). They alone decide where the tile is, so `frames` decodes only that box: uint8 (T S S 3), or
    twice the side for a look that shrinks. This is the one place where frames become float.
    """
    grown = augment_masks(torch.from_numpy(masks), params)
    look = params and params.look
    factor = look.shrink if look and side * look.shrink <= min(masks.shape[1:]) else 1
    seen = side * factor
    y, x = choose_tile(grown, seen, params)
    colours = to_float(frames((x, y, x + seen, y + seen)))  # (T 3 seen seen)
    holes = grown[:, None, y : y + seen, x : x + seen].bool()  # (T 1 seen seen)
    if look:
        colours, holes = apply_look(*shrink(colours, holes, factor), look)
    return jitter_(colours.contiguous(), params), holes.contiguous(), (y, x)


def _jitter(scales: list[float], biases: list[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    scale = tuple(0.7 + 0.2 * u for u in scales)
    return scale, tuple((1 - s) * u for s, u in zip(scale, biases, strict=True))
