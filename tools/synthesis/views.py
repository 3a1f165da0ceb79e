"""From the frames of a shot and their depth to the other eye's view, its holes filled by iw3's queue of 12 frames.

T frames, H height, W width of the frames; h, w of the depth map. Nothing here holds more than a few frames.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import numpy as np
import torch

from model.light_video_inpaint import CONTEXT, FRAMES
from model.mask_mlbw import MaskMLBW
from pack.depth.models import DepthEstimator, robust_range
from pack.film_depth import FilmDepth
from pack.holes.forward import dilate_edge
from pack.holes.kinds import FORWARD
from tools.evaluation.baselines import Fill
from tools.synthesis.warps import grown, right_eye

HOP, AROUND = 16, 4  # frames of a shot whose depth is estimated at once, and those at each side that only give context
INERTIA = 0.9  # of the range of nearness, from frame to frame

Item = TypeVar("Item")


@dataclass(frozen=True)
class Geometry:
    """How the other view is made."""

    divergence: float  # percent of the longer side, all of it in the one view that is made
    convergence: float
    mapper: Callable[[torch.Tensor], torch.Tensor]
    edge_dilation: int = 2  # pixels of the depth map
    inner: int = 1  # pixels, per pixel of the depth map, by which holes grow to the left
    outer: int = 2  # and to the right
    method: str = FORWARD  # the warp, one of pack.holes.kinds
    network: MaskMLBW | None = None  # of the learned warp
    is_part: bool = False  # the frames are a part of a film's, so that their sides are no borders


@dataclass(frozen=True)
class View:
    """A frame, its warp to the right eye, and the holes of that view."""

    seconds: Fraction
    frame: torch.Tensor  # float (3 H W) in [0, 1]
    right: torch.Tensor  # float (3 H W), 0 in holes
    holes: torch.Tensor  # bool (1 H W)


def windows(items: Iterable[Item], hop: int, around: int) -> Iterator[tuple[list[Item], slice]]:
    """Up to hop items at a time with up to `around` neighbours at each side, and which of them are those items."""
    held, done = [], 0
    for item in items:
        held.append(item)
        if len(held) == done + hop + around:
            yield held, slice(done, done + hop)
            held = held[max(0, done + hop - around) :]
            done = min(done + hop, around)
    if len(held) > done:
        yield held, slice(done, len(held))


def with_depth(
    shot: Iterable[tuple[Fraction, np.ndarray]],
    model: DepthEstimator | FilmDepth,
    device: torch.device,
    by: str = "minmax",
) -> Iterator[tuple[Fraction, torch.Tensor, torch.Tensor]]:
    """(seconds, frame (1 3 H W), nearness (1 1 h w) in [0, 1]) of each frame of a shot.

    Where two windows overlap, their nearness is cross-faded, and the range of nearness follows slowly, so that
    depth does not jump. `by` is the range: minmax, robust (see `robust_range`), or given by files of depth.
    """
    ahead: torch.Tensor | None = None
    low: torch.Tensor | None = None
    high: torch.Tensor | None = None
    for held, kept in windows(shot, HOP, AROUND):
        frames = torch.from_numpy(np.stack([picture for _, picture in held])).to(device)
        frames = frames.permute(0, 3, 1, 2).float() / 255
        if isinstance(model, FilmDepth):
            estimated = torch.from_numpy(model.read([seconds for seconds, _ in held])).to(device)
        else:
            estimated = model(frames)
        depth = estimated.clone()  # may be an inference tensor, which could not be written to
        if ahead is not None and len(ahead):
            share = torch.linspace(0, 1, len(ahead) + 2, device=depth.device)[1:-1].view(-1, 1, 1, 1)
            part = slice(kept.start, kept.start + len(ahead))
            depth[part] = torch.lerp(ahead[: len(depth[part])], depth[part], share[: len(depth[part])])
        ahead = depth[kept.stop :].clone()
        if low is None or high is None:
            low, high = frame_range(depth, by)
        for t in range(kept.start, kept.stop):
            lowest, highest = frame_range(depth[t : t + 1], by)
            low, high = torch.lerp(lowest, low, INERTIA), torch.lerp(highest, high, INERTIA)
            near = (depth[t : t + 1] - low) / (high - low).clamp(min=1e-6)
            yield held[t][0], frames[t : t + 1], near.clamp(0, 1)


def frame_range(depth: torch.Tensor, by: str) -> tuple[torch.Tensor, torch.Tensor]:  # (T 1 h w) -> (), ()
    """The values that become nearness 0 and 1."""
    if by == "given":
        return depth.new_zeros(()), depth.new_ones(())
    return robust_range(depth) if by == "robust" else (depth.min(), depth.max())


def see(seconds: Fraction, frame: torch.Tensor, depth: torch.Tensor, how: Geometry) -> View:
    """The right eye's view of a frame (1 3 H W) with nearness (1 1 h w), the frame itself being the left eye's.

    As in iw3 holes are made whole, closed and grown before they are filled.
    """
    disparity = how.mapper(dilate_edge(depth, how.edge_dilation))
    # a percentage of two views' disparity, which this one view takes alone
    scale = 2 * how.divergence, how.convergence, how.network, how.is_part
    right, holes = right_eye(how.method, frame, disparity, *scale)
    holes = grown(holes, how.inner, how.outer, depth.shape[-1])
    return View(seconds, frame[0], right[0].masked_fill(holes[0], 0), holes[0])


def paint(views: Iterable[View], fills: Sequence[Fill]) -> Iterator[tuple[View, list[torch.Tensor]]]:
    """Each view with what each of the fills makes of it (3 H W), in order, at most 9 frames behind.

    iw3's queue: 12 frames, of which the middle 6 leave at a time; the first and last frame of a shot are repeated.
    """
    queue: list[View] = []
    for view in views:
        queue += [view] * (1 if queue else CONTEXT + 1)
        if len(queue) == FRAMES:
            yield from _paint_pass(queue, fills, FRAMES - CONTEXT)
            queue = queue[FRAMES - 2 * CONTEXT :]
    if queue:
        yield from _paint_pass(queue + [queue[-1]] * (FRAMES - len(queue)), fills, len(queue))


def _paint_pass(queue, fills, stop):
    frames = torch.stack([view.right for view in queue])  # (12 3 H W)
    holes = torch.stack([view.holes for view in queue])
    filled = [fill(frames, holes) for fill in fills]
    for t in range(CONTEXT, stop):
        yield queue[t], [one[t] for one in filled]


def compose(layout: str, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:  # (3 H W) x 2 -> (3 H' W')
    """Both eyes in one picture: side by side, the left on top, either at half the size, red and cyan, or the right."""
    if layout == "right":
        return right
    if layout == "anaglyph":
        return torch.cat((left[:1], right[1:]))
    if layout.startswith("half-"):
        height, width = left.shape[-2:]
        size = (height, (width + 1) // 2) if layout == "half-sbs" else ((height + 1) // 2, width)
        left, right = (
            torch.nn.functional.interpolate(eye[None], size, mode="bilinear", antialias=True)[0]
            for eye in (left, right)
        )
    return torch.cat((left, right), -1 if layout.endswith("sbs") else -2)
