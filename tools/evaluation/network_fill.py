"""Fills with a network: whole clips, or only what evaluation measures, with shared encodings of frames.

T frames, C channels, H height, W width.
"""

import time
from collections import deque
from dataclasses import dataclass
from functools import partial

import torch

from model.device import has_bf16
from model.light_video_inpaint import FRAMES, OFFSET, Encoded, LightVideoInpaint
from tools.evaluation.overlap import USUAL, Overlap

STREAM = 16  # frames that are streamed as iw3 does; the middle 12 are measured


def middle_of(frames: int) -> slice:
    """The 12 frames in the middle, which are measured; frames around them only give a method context."""
    return slice((frames - FRAMES) // 2, (frames + FRAMES) // 2)


@dataclass(frozen=True)
class Kept:
    """A frame that a network was given, and what it computes of this frame by itself."""

    frame: torch.Tensor  # float (1 3 H W)
    mask: torch.Tensor  # float (1 1 H W)
    encoded: Encoded
    seconds: float  # that it took


class SharedEncoder:
    """LightVideoInpaint.encode, of which the last frames are kept for other fills of the same clip."""

    def __init__(self, network: LightVideoInpaint):
        self.network = network
        self.reused_seconds = 0.0  # that it took to encode frames which were taken from those that are kept
        self._kept: deque[Kept] = deque(maxlen=STREAM)

    def __call__(self, x: torch.Tensor, mask: torch.Tensor) -> list[Encoded]:
        pairs = [*zip(x.split(1), mask.split(1), strict=True)]
        found = [self._find(*pair) for pair in pairs]
        self.reused_seconds += sum(one.seconds for one in found if one)
        missing = [t for t, one in enumerate(found) if not one]
        if missing:
            started = time.perf_counter()
            encoded = self.network.encode(x[missing], mask[missing])
            if x.is_cuda:
                torch.cuda.synchronize()
            seconds = (time.perf_counter() - started) / len(missing)
            for t, parts in zip(missing, encoded, strict=True):
                found[t] = Kept(*pairs[t], parts, seconds)
                self._kept.append(found[t])
        return [one.encoded for one in found]

    def _find(self, frame, mask):  # -> Kept | None
        same = (one for one in self._kept if torch.equal(one.frame, frame) and torch.equal(one.mask, mask))
        return next(same, None)


@dataclass(frozen=True)
class NetworkFill:
    """The fill of a network, in bf16 with `half` where the device has it."""

    encoder: SharedEncoder
    half: bool = False
    overlap: Overlap = USUAL

    def __call__(self, frames: torch.Tensor, holes: torch.Tensor) -> torch.Tensor:  # (T 3 H W), bool (T 1 H W) -> same
        return self._run(partial(self.encoder.network.infer, overlap=self.overlap), frames, holes)

    def measured(self, frames: torch.Tensor, holes: torch.Tensor) -> torch.Tensor:  # -> (12 3 H-32 W-32)
        """The middle 12 filled frames without the outer 16 pixels; nothing else is computed."""
        return self._run(self._part, frames, holes)

    def _part(self, frames, holes):
        network, middle = self.encoder.network, middle_of(len(frames))
        x, mask = network.preprocess(frames, holes)
        area = [slice(OFFSET, n - OFFSET) for n in frames.shape[-2:]]
        return network.infer_part(x, mask, range(middle.start, middle.stop), area, self.overlap, self.encoder)

    def _run(self, fill, frames, holes):
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=self.half and has_bf16(frames.device)):
            return fill(frames, holes).float()
