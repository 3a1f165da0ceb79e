"""From a film to the parts of a stereo film, from where an earlier conversion ended.

H height, W width.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import islice, tee
from typing import Literal

import numpy as np
import torch

from pack.depth.models import DepthEstimator
from pack.film_depth import FilmDepth
from pack.video.bars import Bars
from pack.video.output.encoder import TIME_BASE
from pack.video.output.parts import Parts
from pack.video.shot_reader import Shot, Timed
from tools.evaluation.baselines import Fill
from tools.evaluation.overlap import USUAL, Overlap
from tools.synthesis.confidence import ErrorMaps, Filled
from tools.synthesis.views import DAMAGED, FrameDepth, Geometry, ShotState, View, as_frames, paint, see, with_depth
from train.evaluation.metrics import as_uint8

Made = Literal["right", "left", "both"]
PART = 192  # frames at least of a part, which is lost when a conversion is interrupted in it


@dataclass(frozen=True)
class Converter:
    """Makes stereo pictures of a film's frames."""

    model: DepthEstimator | FilmDepth
    fills: Sequence[Fill]
    geometry: Geometry
    compose: Callable[[list[torch.Tensor], list[torch.Tensor]], torch.Tensor]  # left and right eyes (3 H W), filled
    # ones by fill or the frame -> (3 H' W')
    device: torch.device
    depth_range: str = "minmax"  # as in `with_depth`
    made: Made = "right"  # the eyes that are made; the frames are the other one
    overlap: Overlap = USUAL  # of the queue
    errors: ErrorMaps | None = None  # where the expected error of the first fill goes; the second one is a simple one
    is_hdr: bool = False  # pictures are uint16 codes, else uint8

    def convert(self, parts: Parts, shots: Iterable[Shot], seconds: float, show: Callable[[int], None]) -> None:
        """Write what the parts lack of the shots, or of the first `seconds` (0: all); `show` gets the number of frames.

        Parts end at cuts and in long shots after a multiple of `block` frames.
        """
        state = ShotState.from_arrays(parts.state, self.device) if parts.state else ShotState()
        for view, picture, note in self._pictures(shots_from(shots, parts.finished, state)):
            # a tick less, as the first one is rounded
            if seconds and parts.ticks and view.seconds - (parts.ticks[0] - 1) * TIME_BASE >= seconds:
                break
            if view.state is not None and parts.pending >= PART:
                parts.finish(view.state.arrays())
            note(len(parts.ticks))
            parts.write(view.seconds, as_uint16(picture) if self.is_hdr else as_uint8(picture).numpy())
            show(len(parts.ticks))
        parts.finish({}, complete=True)

    def _pictures(
        self, shots: Iterable[tuple[Shot, ShotState]]
    ) -> Iterator[tuple[View, torch.Tensor, Callable[[int], None]]]:
        """Each view with the picture to be written, shot by shot: no queue goes through a cut.

        With them comes what writes the expected error of the frame of a number.
        """
        for shot, state in shots:
            framed = Framed(shot)
            frames = with_depth(framed, self.model, self.device, state, self.depth_range, shot.bars, self.overlap)
            for view, lefts, rights in self._eyes(frames, shot.bars, continued=state.start > 0):
                note = partial(self._note, view, rights, shot.bars)
                yield view, self.compose(*framed.put_back(view, lefts, rights)), note

    def _note(self, view: View, filled: list[torch.Tensor], bars: Bars, number: int) -> None:
        if self.errors:
            if view.state is not None:
                self.errors.begin()
            self.errors.write(number, Filled(filled[0], view.holes), filled[1], bars)

    def _eyes(
        self, frames: Iterator[FrameDepth], bars: Bars, continued: bool
    ) -> Iterator[tuple[View, list[torch.Tensor], list[torch.Tensor]]]:
        """Each view with the left and the right eyes (3 H W); left ones are made and filled as mirrored right ones."""
        if self.made == "right":
            for view, filled in self._paint(frames, bars, False, continued):
                yield view, [view.frame], filled
        elif self.made == "left":
            for view, filled in self._paint(frames, bars, True, continued):
                yield view, [eye.flip(-1) for eye in filled], [view.frame.flip(-1)]
        else:
            one, other = tee(frames)
            pairs = zip(
                self._paint(one, bars, True, continued), self._paint(other, bars, False, continued), strict=True
            )
            for (_, lefts), (view, rights) in pairs:
                yield view, [eye.flip(-1) for eye in lefts], rights

    def _paint(
        self, frames: Iterator[FrameDepth], bars: Bars, mirrored: bool, continued: bool
    ) -> Iterator[tuple[View, list[torch.Tensor]]]:
        def turned(image: torch.Tensor) -> torch.Tensor:
            return image.flip(-1) if mirrored else image

        def seen(one: FrameDepth) -> View:
            geometry = without_bars(self.geometry, bars, one.frame.shape[-2:])
            return see(one.seconds, turned(one.frame), turned(one.nearness), geometry, one.state)

        views = (seen(one) for one in frames)
        return paint(views, self.fills, continued, self.overlap)


class Framed:
    """The pictures of a shot without their black bars, which are put back on both eyes as they were, subtitles too."""

    def __init__(self, shot: Shot):
        self.shot = shot
        self.waiting: dict[Fraction, np.ndarray] = {}  # whole pictures that have not come back

    def __iter__(self) -> Iterator[Timed]:
        for seconds, picture in self.shot:
            if self.shot.bars:
                self.waiting[seconds] = picture
            yield seconds, self.shot.bars.crop(picture)

    def put_back(
        self, view: View, lefts: list[torch.Tensor], rights: list[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The left and the right eyes (3 H W) of a view with the bars."""
        if not self.shot.bars:
            return lefts, rights
        while next(iter(self.waiting)) != view.seconds:  # pictures that were only context
            del self.waiting[next(iter(self.waiting))]
        whole = as_frames([self.waiting.pop(view.seconds)], view.frame.device)[0]

        def within(eye: torch.Tensor) -> torch.Tensor:
            out = whole.clone()
            out[(..., *self.shot.bars.picture(out.shape[-2:]))] = eye
            return out

        return [within(eye) for eye in lefts], [within(eye) for eye in rights]


def as_uint16(picture: torch.Tensor) -> np.ndarray:  # float (3 H W) -> uint16 (H W 3)
    """A picture as 16-bit codes."""
    return (picture.clamp(0, 1) * 65535).round().int().movedim(0, -1).cpu().numpy().astype(np.uint16)


def without_bars(geometry: Geometry, bars: Bars, size: Sequence[int]) -> Geometry:
    """The geometry of pictures (H W) that lost their bars: pixels move as far as if these belonged to them."""
    if not bars:
        return geometry
    return replace(geometry, divergence=geometry.divergence * max(bars.whole(size)) / max(size))


def shots_from(shots: Iterable[Shot], frames: int, state: ShotState) -> Iterator[tuple[Shot, ShotState]]:
    """The shots behind the first `frames` of a film; the first of them begins `state.context` frames before."""
    passed = 0
    for shot in shots:
        if passed < frames - state.start:
            passed += sum(1 for _ in shot)
            continue
        if frames and passed != frames - state.start:
            raise DAMAGED
        yield Shot(islice(shot, state.start - state.context, None), shot.bars), state
        frames, state = 0, ShotState()
