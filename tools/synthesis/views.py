"""From the frames of a shot and their depth to the other eye's view, its holes filled by iw3's queue of 12 frames.

T frames, H height, W width of the frames; h, w of the depth map. Nothing here holds more than a few frames.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import TypeVar

import numpy as np
import torch

from model.light_video_inpaint import FRAMES
from model.mask_mlbw import MaskMLBW
from model.morphology import INNER_DILATION, OUTER_DILATION
from pack.depth.models import DepthEstimator, robust_range
from pack.film_depth import FilmDepth
from pack.holes.forward import dilate_edge
from pack.holes.kinds import FORWARD
from pack.video.bars import NO_BARS, Bars
from tools.cli import UserError
from tools.evaluation.baselines import Fill
from tools.evaluation.overlap import USUAL, Overlap
from tools.synthesis.warps import grown, right_eye

HOP, AROUND = 16, 4  # frames of a shot whose depth is estimated at once, and those at each side that only give context
INERTIA = 0.9  # of the range of nearness, from frame to frame

Item = TypeVar("Item")
DAMAGED = UserError("the state of the conversion is damaged: delete its folder NAME.parts to begin anew")


@dataclass(frozen=True)
class Geometry:
    """How the other view is made."""

    divergence: float  # percent of the longer side
    convergence: float
    mapper: Callable[[torch.Tensor], torch.Tensor]
    edge_dilation: int = 2  # pixels of the depth map
    inner: int = INNER_DILATION  # pixels, per pixel of the depth map, by which holes grow to the left
    outer: int = OUTER_DILATION  # and to the right
    method: str = FORWARD  # the warp, one of pack.holes.kinds
    network: MaskMLBW | None = None  # of the learned warp
    both: bool = False  # both eyes are made, with half of the divergence each; otherwise one, with all of it
    is_part: bool = False  # the frames are a part of a film's, so that their sides are no borders


@dataclass(frozen=True)
class ShotState:
    """What the frames of a shot from `start` on need of those before, to come out as if these had just been converted.

    A shot's beginning needs nothing. Elsewhere `start` is a multiple of `block`.
    """

    start: int = 0  # frames of the shot that come before
    low: torch.Tensor | None = None  # () lower end of the range of depth
    high: torch.Tensor | None = None  # () upper end
    ahead: torch.Tensor | None = None  # (A 1 h w) depth of the frames from `start` on, by the window before
    nearness: torch.Tensor | None = None  # (L 1 h w) of the frames before, the leading ones of the queue

    @property
    def around(self) -> int:
        """Frames before `start` that are context of the depth."""
        return min(AROUND, self.start)

    @property
    def context(self) -> int:
        """Frames before `start` that have to be read again."""
        return max(self.around, 0 if self.nearness is None else len(self.nearness))

    def arrays(self) -> dict[str, np.ndarray]:
        """The state for a file."""
        found = {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return {"start": np.array(self.start)} | {name: value.cpu().numpy() for name, value in found.items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], device: torch.device) -> "ShotState":
        """The state that `arrays` returned. Raises UserError for arrays of something else."""
        shapes = {"start": (), "low": (), "high": (), "ahead": (-1, 1, -1, -1), "nearness": (-1, 1, -1, -1)}
        whole = "start" in arrays and all(
            name in shapes and array.dtype == (np.int64 if name == "start" else np.float32)
            and array.ndim == len(shapes[name]) and array.shape[1:2] in ((), (1,)) and np.isfinite(array).all()
            for name, array in arrays.items()
        )  # fmt: skip
        if not whole or arrays["start"] < 0:
            raise DAMAGED
        tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items() if name != "start"}
        return cls(int(arrays["start"]), **tensors)


@dataclass(frozen=True)
class FrameDepth:
    """A frame of a shot and its nearness."""

    seconds: Fraction
    frame: torch.Tensor  # float (1 3 H W) in [0, 1]
    nearness: torch.Tensor  # float (1 1 h w) in [0, 1]
    state: ShotState | None = None  # that of the shot before this frame, where the shot can be continued


@dataclass(frozen=True)
class View:
    """A frame, its warp to the right eye, and the holes of that view."""

    seconds: Fraction
    frame: torch.Tensor  # float (3 H W) in [0, 1]
    right: torch.Tensor  # float (3 H W), 0 in holes
    holes: torch.Tensor  # bool (1 H W)
    state: ShotState | None = None  # as in FrameDepth


def windows(items: Iterable[Item], hop: int, around: int, context: int = 0) -> Iterator[tuple[list[Item], slice]]:
    """Up to hop items at a time with up to `around` neighbours at each side, and which of them are those items.

    The first `context` items only are neighbours.
    """
    held, done = [], context
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
    device: torch.device | str,
    state: ShotState = ShotState(),
    by: str = "minmax",
    bars: Bars = NO_BARS,
    overlap: Overlap = USUAL,
) -> Iterator[FrameDepth]:
    """Each frame of a shot with its nearness.

    Where two windows overlap, their nearness is cross-faded, and the range of nearness follows slowly, so that
    depth does not jump. `by` is the range: minmax, robust (see `robust_range`), or given by files of depth. To continue
    a shot from a `state`, pass its frames from `state.context` frames before `state.start` on; those of them that lead
    in the queue with this `overlap` come first. Depth from files is that of pictures with `bars`, which the frames are
    without.
    """
    number, ahead, low, high = state.start, state.ahead, state.low, state.high
    recent = deque([] if state.nearness is None else state.nearness.split(1), maxlen=overlap[0])
    pictures = iter(shot)
    past = list(islice(pictures, state.context - state.around))  # of no use to the depth
    for held, kept in windows(pictures, HOP, AROUND, state.around):
        frames = as_frames([picture for _, picture in held], device)
        if number == state.start:
            past = (past + held[: kept.start])[-len(recent) :] if recent else []
            for nearness, (seconds, picture) in zip(list(recent), past, strict=True):
                yield FrameDepth(seconds, as_frames([picture], device), nearness)
        before = None
        if number % block(overlap) == 0:
            leading = torch.cat(list(recent)) if recent else None
            before = ShotState(number, low, high, ahead, leading) if number else ShotState()
        depth = cross_faded(estimate(held, frames, model, bars), kept, ahead)
        ahead = depth[kept.stop :].clone()
        if low is None or high is None:
            low, high = frame_range(depth, by)
        for t in range(kept.start, kept.stop):
            lowest, highest = frame_range(depth[t : t + 1], by)
            low, high = torch.lerp(lowest, low, INERTIA), torch.lerp(highest, high, INERTIA)
            near = ((depth[t : t + 1] - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
            recent.append(near)
            yield FrameDepth(held[t][0], frames[t : t + 1], near, before if t == kept.start else None)
        number += kept.stop - kept.start


def block(overlap: Overlap) -> int:
    """Frames of a shot after which it can be continued: windows of depth end there, and passes of the queue."""
    return math.lcm(HOP, FRAMES - sum(overlap))


def as_frames(
    pictures: Sequence[np.ndarray], device: torch.device | str
) -> torch.Tensor:  # T x (H W 3) uint8 or uint16 -> float (T 3 H W) in [0, 1]
    """Pictures as frames."""
    stacked = np.stack(pictures)
    white = np.iinfo(stacked.dtype).max
    if stacked.dtype == np.uint16:  # of which torch knows little
        stacked = stacked.astype(np.int32)
    return torch.from_numpy(stacked).to(device).permute(0, 3, 1, 2).float() / white


def raw_windows(
    shot: Iterable[tuple[Fraction, np.ndarray]], model: DepthEstimator | FilmDepth, device: torch.device | str
) -> Iterator[list[tuple[Fraction, torch.Tensor, torch.Tensor]]]:
    """(seconds, frame (1 3 H W), raw nearness (1 1 h w)) of up to HOP frames of a shot at a time."""
    ahead: torch.Tensor | None = None
    for held, kept in windows(shot, HOP, AROUND):
        frames = as_frames([picture for _, picture in held], device)
        depth = cross_faded(estimate(held, frames, model), kept, ahead)
        ahead = depth[kept.stop :].clone()
        yield [(held[t][0], frames[t : t + 1], depth[t : t + 1]) for t in range(kept.start, kept.stop)]


def estimate(
    held: list[tuple[Fraction, np.ndarray]],
    frames: torch.Tensor,
    model: DepthEstimator | FilmDepth,
    bars: Bars = NO_BARS,
) -> torch.Tensor:  # (T 3 H W) -> (T 1 h w)
    """Raw nearness of the frames held, by a model or from files of pictures with `bars`."""
    if isinstance(model, FilmDepth):
        maps = bars.crop_map(model.read([seconds for seconds, _ in held]), bars.whole(frames.shape[-2:]))
        return torch.from_numpy(maps).to(frames.device)
    return model(frames).clone()  # may be an inference tensor, which could not be written to


def cross_faded(depth: torch.Tensor, kept: slice, ahead: torch.Tensor | None) -> torch.Tensor:  # (T 1 h w) -> same
    """The depth of a window, its first kept frames mixed with what the window before said of them."""
    if ahead is not None and len(ahead):
        share = torch.linspace(0, 1, len(ahead) + 2, device=depth.device)[1:-1].view(-1, 1, 1, 1)
        part = slice(kept.start, kept.start + len(ahead))
        depth[part] = torch.lerp(ahead[: len(depth[part])], depth[part], share[: len(depth[part])])
    return depth


def frame_range(depth: torch.Tensor, by: str) -> tuple[torch.Tensor, torch.Tensor]:  # (T 1 h w) -> (), ()
    """The values that become nearness 0 and 1."""
    if by == "given":
        return depth.new_zeros(()), depth.new_ones(())
    return robust_range(depth) if by == "robust" else (depth.min(), depth.max())


def see(
    seconds: Fraction, frame: torch.Tensor, depth: torch.Tensor, how: Geometry, state: ShotState | None = None
) -> View:
    """The right eye's view of a frame (1 3 H W) with nearness (1 1 h w), the frame itself being the left eye's.

    As in iw3 holes are made whole, closed and grown before they are filled.
    """
    disparity = how.mapper(dilate_edge(depth, how.edge_dilation))
    strength = how.divergence if how.both else 2 * how.divergence  # a percentage of two views' disparity
    scale = strength, how.convergence, how.network, how.is_part
    right, holes = right_eye(how.method, frame, disparity, *scale)
    holes = grown(how.method, holes, how.inner, how.outer, depth.shape[-1])
    return View(seconds, frame[0], right[0].masked_fill(holes[0], 0), holes[0], state)


def paint(
    views: Iterable[View], fills: Sequence[Fill], continued: bool = False, overlap: Overlap = USUAL
) -> Iterator[tuple[View, list[torch.Tensor]]]:
    """Each view with what each of the fills makes of it (3 H W), in order, at most 12 frames behind.

    iw3's queue: 12 frames, of which those between the leading and trailing ones of the overlap leave at a time, usually
    6; the first and last frame of a shot are repeated. Where a shot is `continued`, the first views are the leading
    ones, of frames that have left before.
    """
    leading, trailing = overlap
    queue: list[View] = []
    for view in views:
        queue += [view] * (1 if queue or continued else leading + 1)
        if len(queue) == FRAMES:
            yield from _paint_pass(queue, fills, leading, FRAMES - trailing)
            queue = queue[FRAMES - leading - trailing :]
    if len(queue) > leading:
        yield from _paint_pass(queue + [queue[-1]] * (FRAMES - len(queue)), fills, leading, len(queue))


def _paint_pass(queue, fills, start, stop):
    frames = torch.stack([view.right for view in queue])  # (12 3 H W)
    holes = torch.stack([view.holes for view in queue])
    filled = [fill(frames, holes) for fill in fills]
    for t in range(start, stop):
        yield queue[t], [one[t] for one in filled]
