"""From a film to the parts of a stereo film, from where an earlier conversion ended.

H height, W width.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, tee
from typing import Literal

import torch

from pack.depth.models import DepthEstimator
from pack.film_depth import FilmDepth
from pack.video.output.encoder import TIME_BASE
from pack.video.output.parts import Parts
from pack.video.shot_reader import Timed
from tools.evaluation.baselines import Fill
from tools.evaluation.overlap import USUAL, Overlap
from tools.synthesis.views import FrameDepth, Geometry, ShotState, View, paint, see, with_depth
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

    def convert(
        self, parts: Parts, shots: Iterable[Iterator[Timed]], seconds: float, show: Callable[[int], None]
    ) -> None:
        """Write what the parts lack of the shots, or of the first `seconds` (0: all); `show` gets the number of frames.

        Parts end at cuts and, with the usual overlap, in long shots after a multiple of BLOCK frames.
        """
        state = ShotState.from_arrays(parts.state, self.device) if parts.state else ShotState()
        for view, picture in self._pictures(shots_from(shots, parts.finished, state)):
            # a tick less, as the first one is rounded
            if seconds and parts.ticks and view.seconds - (parts.ticks[0] - 1) * TIME_BASE >= seconds:
                break
            can_end = view.state is not None and (view.state.start == 0 or self.overlap == USUAL)
            if can_end and parts.pending >= PART:
                parts.finish(view.state.arrays())
            parts.write(view.seconds, as_uint8(picture).numpy())
            show(len(parts.ticks))
        parts.finish({}, complete=True)

    def _pictures(self, shots: Iterable[tuple[Iterator[Timed], ShotState]]) -> Iterator[tuple[View, torch.Tensor]]:
        """Each view with the picture to be written, shot by shot: no queue goes through a cut."""
        for shot, state in shots:
            frames = with_depth(shot, self.model, self.device, state, self.depth_range)
            for view, lefts, rights in self._eyes(frames, continued=state.start > 0):
                yield view, self.compose(lefts, rights)

    def _eyes(
        self, frames: Iterator[FrameDepth], continued: bool
    ) -> Iterator[tuple[View, list[torch.Tensor], list[torch.Tensor]]]:
        """Each view with the left and the right eyes (3 H W); left ones are made and filled as mirrored right ones."""
        if self.made == "right":
            for view, filled in self._paint(frames, False, continued):
                yield view, [view.frame], filled
        elif self.made == "left":
            for view, filled in self._paint(frames, True, continued):
                yield view, [eye.flip(-1) for eye in filled], [view.frame.flip(-1)]
        else:
            one, other = tee(frames)
            pairs = zip(self._paint(one, True, continued), self._paint(other, False, continued), strict=True)
            for (_, lefts), (view, rights) in pairs:
                yield view, [eye.flip(-1) for eye in lefts], rights

    def _paint(
        self, frames: Iterator[FrameDepth], mirrored: bool, continued: bool
    ) -> Iterator[tuple[View, list[torch.Tensor]]]:
        def turned(image: torch.Tensor) -> torch.Tensor:
            return image.flip(-1) if mirrored else image

        views = (see(one.seconds, turned(one.frame), turned(one.nearness), self.geometry, one.state) for one in frames)
        return paint(views, self.fills, continued, self.overlap)


def shots_from(
    shots: Iterable[Iterator[Timed]], frames: int, state: ShotState
) -> Iterator[tuple[Iterator[Timed], ShotState]]:
    """The shots behind the first `frames` of a film; the first of them begins `state.context` frames before."""
    passed = 0
    for shot in shots:
        if passed < frames - state.start:
            passed += sum(1 for _ in shot)
            continue
        assert not frames or passed == frames - state.start
        yield islice(shot, state.start - state.context, None), state
        frames, state = 0, ShotState()
