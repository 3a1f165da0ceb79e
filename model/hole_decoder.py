"""The decoder of LightVideoInpaint, computed only in windows that have holes: others are not shown.

T frames, C channels, H height, W width in pixels, R x Q windows of a frame, each 16 x 16 tokens of 4 x 4 pixels. Those
that are computed, N, take the place of frames in the network's blocks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks import PATCH, edge_pad
from model.morphology import dilate

WINDOW = 16  # tokens
AT_ONCE = 32  # windows; more of them would leave the processor's cache


def decode_near(network: nn.Module, skip: Tensor, h: Tensor, holes: Tensor) -> Tensor:
    """The decoder's frames (T 3 H W) in windows where `holes`, bool (T 1 H W) or smaller, is set, elsewhere 0.

    The inputs are (T C . .), of at least the tokens of the frames, and (T 2C H/8 W/8) of whole windows.
    """
    rows, columns = (2 * size for size in h.shape[-2:])  # of tokens
    holes = F.pad(holes, (0, PATCH * columns - holes.shape[-1], 0, PATCH * rows - holes.shape[-2]))
    tokens = holes.unflatten(-1, (-1, PATCH)).any(-1).unflatten(-2, (-1, PATCH)).any(-2)  # (T 1 H/4 W/4)
    needed, shown = _windows(dilate(tokens)), _windows(tokens)  # the convolution needs one more token
    places = needed.nonzero().unbind(1)
    inner = [
        _to_tokens(network, *parts)
        for parts in zip(_cut(h, 8, places), _cut(skip[..., :rows, :columns], WINDOW, places), strict=True)
    ]
    frames = skip.new_zeros(len(h), 3, PATCH * rows, PATCH * columns)
    if inner:
        x, gated = (torch.cat(parts) for parts in zip(*inner, strict=True))
        patches = _patches(gated, places, (len(h), rows, columns), shown)
        images = [_to_images(network, *parts) for parts in zip(x[shown[needed]].split(AT_ONCE), patches, strict=True)]
        _grid(frames, PATCH * WINDOW)[shown] = torch.cat(images).to(frames.dtype).permute(0, 2, 3, 1)
    return frames


def _windows(tokens):  # bool (T 1 H/4 W/4) -> bool (T R Q): windows with such a token
    return tokens[:, 0].unflatten(-1, (-1, WINDOW)).any(-1).unflatten(-2, (-1, WINDOW)).any(-2)


def _grid(x, size):  # (T C H W) -> (T R Q size size C), a view
    return x.permute(0, 2, 3, 1).unflatten(2, (-1, size)).unflatten(1, (-1, size)).transpose(2, 3)


def _cut(x, size, places):  # (T C H W) -> (N C size size), some at a time
    parts = zip(*(numbers.split(AT_ONCE) for numbers in places), strict=True)
    return [_grid(x, size)[part].permute(0, 3, 1, 2) for part in parts if len(part[0])]


def _to_tokens(network, h, skip):  # (N 2C 8 8), (N C 16 16) -> (N C 16 16), (N C/2 16 16) before the convolution
    block = network.dec1
    x = F.pixel_shuffle(network.up(h), 2) + skip
    x = x + block.gmlp(x, block.norm1, block.norm2)
    return x, block.glu_conv.gate(x)


def _patches(gated, places, size, shown):  # (N C/2 16 16) -> (M C/2 18 18) of the shown ones, some at a time
    frames, rows, columns = size
    whole = gated.new_zeros(frames, rows, columns, gated.shape[1]).permute(0, 3, 1, 2)
    _grid(whole, WINDOW)[places] = gated.permute(0, 2, 3, 1)
    padded = edge_pad(whole, 1, 1, 1, 1).permute(0, 2, 3, 1)
    grid = padded.unfold(1, WINDOW + 2, WINDOW).unfold(2, WINDOW + 2, WINDOW)  # (T R Q C/2 18 18)
    return grid.permute(0, 1, 2, 4, 5, 3)[shown].permute(0, 3, 1, 2).split(AT_ONCE)


def _to_images(network, x, patches):  # (M C 16 16), (M C/2 18 18) -> (M 3 64 64)
    return F.pixel_shuffle(network.to_image(x + network.dec1.glu_conv.w2(patches)), PATCH)
