"""Initial weights of the network: iw3's, or ours, with which the network copies visible pixels.

iw3's blocks double their input, so a network with iw3's initial weights outputs values of standard deviation 43, which
the first thousands of steps only shrink. With ours it starts as an autoencoder of 4x4 cells: visible pixels are
reproduced nearly unchanged, holes become mid-grey, and training only has to learn to fill them.
"""

import math
from collections.abc import Iterable
from typing import Literal, Protocol, get_args

import torch
from torch import nn

from model.blocks import PATCH, Block, draw_he

Init = Literal["copy", "iw3"]

SLOPE = 0.1  # of the leaky ReLU behind the patch embedding
SKIP_GAIN = 4  # of enc1 and dec1, which the skip connection passes through: each doubles its input
ENC2_GAIN = 2**5  # of the five blocks of enc2
CONV_SCALE = 0.1  # of the gated convolutions, whose random output would hide the copied image


class Network(Protocol):
    """The layers of a LightVideoInpaint."""

    mask_bias: nn.Parameter
    patch: nn.Conv2d
    enc1: Block
    down: nn.Conv2d
    enc2: Iterable[Block]
    up: nn.Conv2d
    dec1: Block
    to_image: nn.Conv2d


def initialise(net: Network, init: Init, gen: torch.Generator | None = None) -> None:
    """Give a LightVideoInpaint its initial weights: "iw3" as iw3 does, "copy" so that it copies visible pixels."""
    if init not in get_args(Init):
        raise ValueError(f'init is {init!r}, expected "copy" or "iw3"')
    with torch.no_grad():
        init_as_iw3(net, gen)
        if init == "copy":
            init_as_copy(net)


def init_as_iw3(net: Network, gen: torch.Generator | None) -> None:
    nn.init.trunc_normal_(net.mask_bias, std=0.01, generator=gen)
    draw_he(net.patch, gen)
    for block in blocks(net):
        block.draw(gen)
    for conv in (net.down, net.up):  # PyTorch's default for convolutions
        bound = conv.weight[0].numel() ** -0.5
        for values in conv.parameters():  # the weight, then the bias
            nn.init.uniform_(values, -bound, bound, generator=gen)
    weight = net.to_image.weight
    colours = torch.randn(3, *weight.shape[1:], generator=gen) * (2 / weight.shape[1]) ** 0.5
    weight.copy_(colours.repeat_interleave(PATCH**2, dim=0))  # equal weights for all pixels of a token (ICNR)
    net.to_image.bias.zero_()


def init_as_copy(net: Network) -> None:
    """Make `to_image` the inverse of `patch`, and scale down the blocks in between.

    A filter f and its negative give relu(f) and relu(-f), whose difference is (1 + SLOPE) f, for a leaky relu. So 96
    channels hold the 48 coefficients of a cell in an orthonormal basis exactly; fewer hold its lowest frequencies, and
    channels beyond 96 stay random.
    """
    count = min(net.patch.out_channels // 2, 3 * PATCH**2)
    filters = cell_basis()[:count]  # (n 3 4 4)
    net.patch.weight[: 2 * count] = torch.cat([filters, -filters])
    back = filters.flatten(1).t() / (2 * (1 + SLOPE) * SKIP_GAIN)  # (48 n); / 2: from [-1, 1] to [0, 1]
    net.to_image.weight.zero_()
    net.to_image.weight[:, : 2 * count, 0, 0] = torch.cat([back, -back], dim=1)
    net.to_image.bias.fill_(0.5)
    net.up.weight /= ENC2_GAIN
    net.up.bias.zero_()
    for block in blocks(net):
        block.glu_conv.w2.weight *= CONV_SCALE


def cell_basis() -> torch.Tensor:  # -> (48 3 4 4)
    """An orthonormal basis of 4x4 cells, low frequencies first: cosines times brightness and two colour differences."""
    k, x = torch.arange(PATCH).view(-1, 1), torch.arange(PATCH)
    cosines = torch.cos(math.pi * (x + 0.5) * k / PATCH)
    colours = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]])
    cosines, colours = (rows / rows.norm(dim=1, keepdim=True) for rows in (cosines, colours))
    basis = torch.einsum("ky,lx,nc->klncyx", cosines, cosines, colours).flatten(0, 2)
    order = [k + m + min(colour, 1) / 2 for k in range(PATCH) for m in range(PATCH) for colour in range(3)]
    return basis[torch.tensor(order).argsort(stable=True)]


def blocks(net: Network) -> list[Block]:
    return [net.enc1, *net.enc2, net.dec1]
