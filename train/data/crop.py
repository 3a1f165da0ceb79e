"""From a record to a tile: frames, dilation of holes and place, as pure functions of random parameters.

T frames (12), H height and W width of the record, S side of the tile. The parameters are those of iw3's augmentations.
Colours change on the training device (train.data.augment), so a tile consists of bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from model.morphology import CLOSING, INNER_DILATION, OUTER_DILATION, dilate, erode
from pack.holes.kinds import MLBW, kind_of
from pack.shards.record import Box, size_in
from tools.cli import UserError
from train.data.looks import Look, draw_look

EVAL_STRIDE = 64  # pixels between the candidate windows of evaluation
TILES = 4  # random candidate windows of training
USUAL_DEPTH_SIDE = 392  # short side of the depth map of iw3's models, for records that do not say theirs


Jitter = tuple[tuple[float, ...], tuple[float, ...]] | str | None  # (scale, bias) by channel, "gray" or none


class DoesNotFit(UserError):
    """A record is too small or too short for the settings."""


@dataclass(frozen=True)
class AugmentParams:
    """Random augmentation parameters of one sample, drawn before its record is read. Fractions are in [0, 1)."""

    reverse: bool
    start: float
    jitter: Jitter
    outer: int  # pixels by which holes are dilated to the right
    inner: int  # and to the left
    tiles: tuple[tuple[float, float], ...]  # (y, x) of each candidate window
    look: Look | None = None  # with --augment strong
    as_used: bool = False  # holes are closed and grown as in use: outer and inner are pixels of the depth map


@dataclass(frozen=True)
class Use:
    """What iw3 does to the holes of a record before its network gets them."""

    pixel: float = 0.0  # pixels of the record per pixel of its depth map, by which holes grow; 0: they have grown
    closing: int = 0  # rounds of dilation and erosion before


NO_USE = Use()


@dataclass(frozen=True)
class Tile:
    """The part of a record that a sample shows. S is twice the side of the sample where its look shrinks."""

    frames: np.ndarray  # uint8 (T S S 3)
    holes: torch.Tensor  # bool (T S S), dilated
    corner: tuple[int, int]  # y, x in the record
    look: Look | None  # the one drawn, which shrinks only where the record is large enough


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


def as_used(params: AugmentParams) -> AugmentParams:
    """The same parameters with the growth of holes that iw3 has in use, instead of a random one."""
    return replace(params, outer=OUTER_DILATION, inner=INNER_DILATION, as_used=True)


def use_of(info: Mapping[str, Any]) -> Use:
    """What iw3 does to the holes of this record (its KEY.json) in use. It closes those of the learned warp in the depth
    map's size, as packing does, and not again."""
    return Use(depth_pixel(info), 0 if kind_of(info) == MLBW else CLOSING)


def depth_pixel(info: Mapping[str, Any]) -> float:
    """Pixels of a record per pixel of its depth map, from KEY.json; 0 where the holes are those of use already."""
    if "truth" in info:
        return 0.0
    frame, depth = (size_in(info, name) for name in ("frame_size", "depth_size"))
    if frame is None:
        return 1.0
    return frame[0] / depth[0] if depth else min(frame) / USUAL_DEPTH_SIDE


def augment_masks(
    masks: torch.Tensor, params: AugmentParams | None, use: Use = NO_USE
) -> torch.Tensor:  # uint8 (T H W) -> same
    """Masks with their holes dilated; a dilated mask has no half values. `use` counts where `params` are as used."""
    if params is None or not params.outer + params.inner or (params.as_used and not use.pixel):
        return masks
    outer, inner = params.outer, params.inner
    if params.as_used:
        outer, inner = (min(max(round(use.pixel * n), 1), 63) for n in (outer, inner))
        masks = torch.maximum(erode(dilate(masks, use.closing), use.closing), masks) if use.closing else masks
    grown = dilate_rows(masks.numpy(), outer, inner)
    return torch.from_numpy(np.negative(grown, out=grown))  # 1 becomes 255


def dilate_rows(masks: np.ndarray, right: int, left: int) -> np.ndarray:  # uint8 (T H W) -> 0 or 1, same shape
    """Where masks above 0 are, extended by less than 64 pixels to the right and to the left.

    `dilate_inner(dilate_outer(...))` of model.morphology for 64 pixels at a time, in a third of its time.
    """
    width = masks.shape[-1]
    packed = np.packbits(masks, axis=-1, bitorder="little")  # any value above 0 is a set bit
    # whole words and one between rows, so that all rows are shifted as one
    rows = np.zeros((*masks.shape[:-1], (-(-width // 64) + 1) * 8), np.uint8)
    rows[..., : packed.shape[-1]] = packed
    words = rows.ravel().view("<u8")  # the lowest bit is the leftmost pixel
    reach = 1
    while reach <= right:  # n shifts by one pixel cover n+1 pixels; each pass doubles that number
        step = min(reach, right + 1 - reach)
        shifted = words << step
        shifted[1:] |= words[:-1] >> (64 - step)
        words, reach = words | shifted, reach + step
    reach = 1
    while reach <= left:
        step = min(reach, left + 1 - reach)
        shifted = words >> step
        shifted[:-1] |= words[1:] << (64 - step)
        words, reach = words | shifted, reach + step
    return np.unpackbits(words.view(np.uint8).reshape(rows.shape), axis=-1, count=width, bitorder="little")


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


def cut(
    frames: Callable[[Box], np.ndarray],
    masks: np.ndarray,
    side: int,
    params: AugmentParams | None,
    use: Use = NO_USE,
) -> Tile:
    """The tile of a sample with this side; masks are uint8 (T H W), `use` counts where `params` are as used.

    The masks alone decide where the tile is, so `frames` decodes only that box: uint8 (T S S 3).
    """
    grown = augment_masks(torch.from_numpy(masks), params, use)
    look = params.look if params else None
    if look and side * look.shrink > min(masks.shape[1:]):
        look = replace(look, shrink=1)
    seen = side * look.shrink if look else side
    y, x = choose_tile(grown, seen, params)
    holes = grown[:, y : y + seen, x : x + seen].bool()
    return Tile(frames((x, y, x + seen, y + seen)), holes, (y, x), look)


def _jitter(scales: list[float], biases: list[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    scale = tuple(0.7 + 0.2 * u for u in scales)
    return scale, tuple((1 - s) * u for s, u in zip(scale, biases, strict=True))
