"""iw3's video inpainting network LightVideoInpaintV1: with the same weights it computes the same function.

T frames, C channels, H height, W width in pixels; a token is a 4x4 cell of pixels. A pass takes B sequences of 12
frames, one after the other: T is 12 B.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.blocks import PATCH, SpatialMLP, edge_pad, spatial_block, temporal_block
from model.hole_decoder import decode_near
from model.initial_weights import Init, initialise
from model.morphology import dilate_inner, dilate_outer, mask_blur, mask_closing

FRAMES = 12  # per forward pass
CONTEXT = 3  # frames at each end of a pass whose result is discarded, in clips longer than one pass
OFFSET = 16  # pixels cropped from each side in training and evaluation
MODULUS = 16 * PATCH  # pixels of a window of enc1


class Encoded(NamedTuple):
    """What is computed of a frame by itself, padded: tensors of one frame, P positions."""

    skip: Tensor  # (1 C H/4 W/4)
    h: Tensor  # (1 2C H/8 W/8), the input of the first temporal block
    values: Tensor  # (1 P hidden), see TemporalMLP.project
    gates: Tensor  # (1 P hidden)


Encode = Callable[[Tensor, Tensor], list[Encoded]]  # as LightVideoInpaint.encode

NAMES = {
    "inpaint.light_video_inpaint_v1": {"base_dim": 96, "lv2_mlp_ratio": 1},
    "inpaint.light_video_inpaint_v1_medium": {"base_dim": 128, "lv2_mlp_ratio": 2},
    "inpaint.light_video_inpaint_v1_large": {"base_dim": 192, "lv2_mlp_ratio": 2},
}


class LightVideoInpaint(nn.Module):
    """Fills the holes of 12 consecutive frames from their surroundings in space and time.

    `init` and `generator` determine the initial weights, see model.initial_weights. With `checkpoint_blocks` each block
    is recomputed in the backward pass instead of keeping its activations.
    """

    def __init__(
        self,
        base_dim: int = 96,
        lv2_mlp_ratio: int = 1,
        init: Init = "copy",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.kwargs = {"base_dim": base_dim, "lv2_mlp_ratio": lv2_mlp_ratio}
        self.checkpoint_blocks = False
        with torch.device("meta"):  # only shapes: `initialise` sets the values
            self._build(base_dim, lv2_mlp_ratio)
        self.to_empty(device=torch.get_default_device())
        initialise(self, init, generator)

    def _build(self, c, ratio):
        c2 = 2 * c
        self.mask_bias = nn.Parameter(torch.empty(1, c, 1, 1))
        self.patch = nn.Conv2d(3, c, PATCH, stride=PATCH)
        self.enc1 = spatial_block(c, 16, 2)
        self.down = nn.Conv2d(c, c2, 2, stride=2)
        self.enc2 = nn.ModuleList(
            [
                spatial_block(c2, 8, ratio, shift=True),
                temporal_block(c2, FRAMES, 2),
                spatial_block(c2, 8, ratio),
                temporal_block(c2, FRAMES, 2),
                spatial_block(c2, 8, ratio, shift=True),
            ]
        )
        self.up = nn.Conv2d(c2, 4 * c, 1)
        self.dec1 = spatial_block(c, 16, 2)
        self.to_image = nn.Conv2d(c, 3 * PATCH**2, 1)

    def preprocess(
        self,
        x: Tensor,
        mask: Tensor,
        closing: bool = False,
        inner_dilation: int = 0,
        outer_dilation: int = 0,
        base_width: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Frames (T 3 H W) with the holes set to 0, and the holes (T 1 H W) as float in [0, 1] with soft borders.

        `mask` is bool or float. Dilations are in pixels, scaled by width / base_width if `base_width` is given.
        """
        mask = mask_closing(mask) if closing else mask.to(x.dtype)
        mask = dilate_inner(mask, inner_dilation, base_width)
        mask = dilate_outer(mask, outer_dilation, base_width)
        return x * (1 - mask), (mask_blur(mask) + mask).clamp(0, 1)

    def forward(self, x: Tensor, mask: Tensor, skip_offset: bool = False, frames_at_once: int = FRAMES) -> Tensor:
        """Frames with filled holes, from the result of `preprocess`: (12B 3 H W), (12B 1 H W) -> (12B 3 H-32 W-32).

        The frames are those of one or more sequences of 12, which do not influence each other. `skip_offset` keeps the
        outer 16 pixels: (12B 3 H W). In eval mode the result is clamped to [0, 1]. Fewer `frames_at_once` in the
        spatial blocks need less memory and give the same result.
        """
        if not len(x) or len(x) % FRAMES:
            raise ValueError(f"forward got {len(x)} frames, expected a multiple of {FRAMES}: use infer for others")
        area = [slice(0, n) if skip_offset else slice(OFFSET, n - OFFSET) for n in x.shape[-2:]]
        filled = self._fill(x, mask, area, frames_at_once)
        x, mask = x[..., *area], mask[..., *area]
        out = x * (1 - mask) + filled * mask
        return out if self.training else out.clamp(0, 1)

    @torch.no_grad()
    def infer(
        self,
        x: Tensor,
        mask: Tensor,
        closing: bool = False,
        inner_dilation: int = 0,
        outer_dilation: int = 0,
        base_width: int | None = None,
        overlap: tuple[int, int] = (CONTEXT, CONTEXT),
    ) -> Tensor:
        """Any number of frames with filled holes: (T 3 H W), (T 1 H W) -> (T 3 H W); options as in `preprocess`.

        `overlap` is the context of passes over more than 12 frames: leading and trailing frames.
        """
        x, mask = self.preprocess(x, mask, closing, inner_dilation, outer_dilation, base_width)
        return self.infer_part(x, mask, range(len(x)), [slice(0, n) for n in x.shape[-2:]], overlap)

    @torch.no_grad()
    def infer_part(
        self,
        x: Tensor,
        mask: Tensor,
        frames: range,
        area: list[slice],
        overlap: tuple[int, int] = (CONTEXT, CONTEXT),
        encode: Encode | None = None,
    ) -> Tensor:
        """Some consecutive frames and an area (rows, columns) of what `infer` returns, from `preprocess`'s result.

        The result is that of a pass over each window of `plan_passes`, but only what it depends on is computed: the
        blocks that see a single frame run once for each frame, the last ones only for frames that a window keeps.
        `encode` replaces `self.encode`, for a caller that keeps its results.
        """
        encode = encode or self.encode
        sizes = token_sizes(x, area)
        encoded: dict[int, Encoded] = {}  # by frame, of those that this window or the last one has
        filled, first = [], 0
        passes = plan_passes(len(x), overlap)
        for number, (window, kept) in enumerate(passes):
            start, first = first - kept.start, first + kept.stop - kept.start  # of the window, of the next kept frames
            kept = slice(max(kept.start, frames.start - start), min(kept.stop, frames.stop - start))
            if kept.start >= kept.stop:
                continue
            new = [t for t in sorted({*window}) if t not in encoded]
            if new:
                encoded |= dict(zip(new, encode(x[new], mask[new]), strict=True))
            h = self._mix_first([encoded[t] for t in window])
            skip = torch.cat([encoded[t].skip for t in window[kept]])
            later = {t for following, _ in passes[number + 1 : number + 2] for t in following}
            encoded = {t: one for t, one in encoded.items() if t in later}  # others would only fill the memory
            h = self._mix_kept(h, sizes, kept)
            filled.append(self._decode_kept(skip, h, mask[window[kept]], area, sizes))
        x, mask = (part[frames.start : frames.stop, :, *area] for part in (x, mask))
        out = x * (1 - mask) + torch.cat(filled) * mask
        return out if self.training else out.clamp(0, 1)

    def encode(self, x: Tensor, mask: Tensor) -> list[Encoded]:
        """What `infer_part` computes of each frame by itself, without gradients."""
        skip, h = self._encode(x, mask, 2)
        # Two frames at a time, each pair in memory of its own, which can be freed before that of the others.
        projected = zip(*(self.enc2[1].project(frames) for frames in h.split(2)), strict=True)
        values, gates = ([frame for pair in pairs for frame in pair.split(1)] for pairs in projected)
        return [Encoded(*parts) for parts in zip(skip.split(1), h.split(1), values, gates, strict=True)]

    def _fill(self, x, mask, area, frames_at_once):  # (T 3 H W), (T 1 H W) -> the area of (T 3 H W)
        sizes = token_sizes(x, area)
        skip, h = self._encode(x, mask, frames_at_once)
        return self._decode(skip, self._mix(h, sizes, frames_at_once), sizes, frames_at_once)[..., *area]

    def _encode(self, x, mask, frames_at_once):  # (T 3 H W), (T 1 H W) -> (T C H/4 W/4), (T 2C H/8 W/8), both padded
        height, width = x.shape[-2:]
        # As in iw3, a size that is a multiple already is padded by a whole window: weights are trained with it.
        pad = (0, MODULUS - width % MODULUS, 0, MODULUS - height % MODULUS)
        holes = F.max_pool2d(edge_pad(mask, *pad), PATCH) > 0.99  # (T 1 H/4 W/4)
        x = edge_pad((x - 0.5) / 0.5, *pad)
        h = F.leaky_relu(self.patch(x), 0.1)  # (T C H/4 W/4)
        h = torch.where(holes, self.mask_bias.to(h.dtype), h)
        skip = self._run(self.enc1, h, frames_at_once)
        return skip, self._run(self.enc2[0], self.down(skip), frames_at_once)

    def _mix(self, h, sizes, frames_at_once):  # (T 2C H/8 W/8) -> the part of it that counts
        for block, size in zip(self.enc2[1:4], sizes[1:4], strict=True):
            h = self._run(block, _corner(h, *size), frames_at_once)
        return h

    def _mix_first(self, frames):  # 12 Encoded -> (12 2C H/8 W/8)
        h, gates = (torch.cat(parts) for parts in zip(*((one.h, one.gates) for one in frames), strict=True))
        return self.enc2[1].mix(h, [one.values[0] for one in frames], gates)

    def _mix_kept(self, h, sizes, kept):  # from _mix_first -> as _mix, of the kept frames
        h = _corner(self._run(self.enc2[2], _corner(h, *sizes[2]), 2), *sizes[3])
        return self.enc2[3].mix(h[kept], *self.enc2[3].project(h, kept), kept)

    def _last(self, h, sizes, frames_at_once):  # (T 2C H/8 W/8) -> the part of it that the decoder needs
        return self._run(self.enc2[4], _corner(h, *sizes[4]), frames_at_once)

    def _decode_kept(self, skip, h, mask, area, sizes):  # (K C H/4 W/4), (K 2C H/8 W/8), (K 1 H W) -> (K 3 . .)
        if mask.device.type != "cpu":  # a GPU would wait for the number of windows
            return self._decode(skip, h, sizes, 2)[..., *area]
        holes = F.pad(mask[..., *area] > 0, (area[1].start, 0, area[0].start, 0))
        return decode_near(self, skip, _corner(self._last(h, sizes, 2), *sizes[5]), holes)[..., *area]

    def _decode(self, skip, h, sizes, frames_at_once):  # (T C H/4 W/4), (T 2C H/8 W/8) -> (T 3 H W), the part of it
        h = F.pixel_shuffle(self.up(_corner(self._last(h, sizes, frames_at_once), *sizes[5])), 2)
        h = self._run(self.dec1, h + _corner(skip, *h.shape[-2:]), frames_at_once)
        return F.pixel_shuffle(self.to_image(h), PATCH)

    def _run(self, block, h, frames_at_once):
        if self.checkpoint_blocks and torch.is_grad_enabled():
            return checkpoint(block, h, use_reentrant=False, preserve_rng_state=False)  # nothing is random
        if isinstance(block.gmlp, SpatialMLP) and frames_at_once < FRAMES:
            return torch.cat([block(frames) for frames in h.split(frames_at_once)])
        return block(h)


def token_sizes(x: Tensor, area: list[slice]) -> list[tuple[int, int]]:
    """(rows, columns) of enc2's tokens that influence the area of the frames x: see `needed_tokens`."""
    whole = [(n + MODULUS - n % MODULUS) // (2 * PATCH) for n in x.shape[-2:]]
    rows, columns = (needed_tokens(part.stop, size) for part, size in zip(area, whole, strict=True))
    return [*zip(rows, columns, strict=True)]


def needed_tokens(pixels: int, whole: int) -> list[int]:
    """How many of the `whole` tokens along one axis of enc2 influence the first `pixels` of the result.

    One number for the input of each of its five blocks, and one for the output to dec1. A convolution needs one more
    token, a window all of its tokens; other tokens are never computed, which changes neither result nor gradients. For
    256 pixels without OFFSET, padded to 320, the numbers are [40, 40, 40, 37, 36, 32].
    """
    seen = -(-pixels // PATCH) + 1  # tokens of dec1 that its convolution needs
    out = min(-(-seen // 16) * 8, whole)  # whole windows of 16, in tokens of enc2, which are twice as large
    last = min(out + 4, whole)  # windows of 8, shifted by 4, which contain the convolution's one more token
    return [whole, whole, whole, min(last + 1, whole), last, out]


def _corner(h, rows, cols):  # the upper left part: padding is at the right and at the bottom
    return h[..., :rows, :cols]


def plan_passes(frames: int, overlap: tuple[int, int] = (CONTEXT, CONTEXT)) -> list[tuple[list[int], slice]]:
    """The passes that cover a clip as in iw3: for each one its 12 input frames and the slice of its result to keep.

    Up to 12 frames are centred in one pass. Longer clips are covered by overlapping passes, of which the frames between
    the leading and trailing ones of the overlap are kept, usually 6, and by one last pass for the rest.
    """
    if frames <= FRAMES:
        before = (FRAMES - frames) // 2
        return [(_clamped(-before, frames), slice(before, before + frames))]
    leading, trailing = overlap
    step = FRAMES - leading - trailing
    starts = range(0, frames - (FRAMES - leading) + 1, step)  # of passes that only see frames of the clip behind them
    passes = [(_clamped(start - leading, frames), slice(leading, leading + step)) for start in starts]
    rest = len(starts) * step
    return passes + [(_clamped(rest - leading, frames), slice(leading, leading + frames - rest))] * (rest < frames)


def _clamped(start, frames):  # the 12 frame numbers from start, clamped to the clip
    return [min(max(t, 0), frames - 1) for t in range(start, start + FRAMES)]
