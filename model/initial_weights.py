"""The first weights of the network: iw3's own, or ours, which copy what is visible.

iw3's blocks double their input, so a fresh network of iw3's puts out values of standard deviation 43, and its first
thousands of steps only shrink them. Ours starts as an auto-encoder of 4x4 cells: visible pixels come out nearly as they
went in, holes come out mid-grey, and training has only to learn how what is known comes into the holes.
"""

import math
from typing import Literal, get_args

import torch
from torch import nn

from model.blocks import PATCH, Block, draw_he
from tools.cli import UserError

Init = Literal["copy", "iw3"]

SLOPE = 0.1  # of the leaky ReLU behind the patch embedding
GAIN = 4  # enc1 and dec1 lie on the way of the skip connection, and each doubles
DEPTH = 2**5  # so do the blocks of enc2
QUIET = 0.1  # of the gated convolutions, which would drown the copy in noise


def initialise(net: nn.Module, init: Init, gen: torch.Generator | None = None) -> None:
    """Draw every weight of a LightVideoInpaint: "iw3" as iw3 does, "copy" so that it copies what is visible."""
    if init not in get_args(Init):
        raise UserError(f'init is {init!r}: pass "copy" or "iw3"')
    with torch.no_grad():
        draw_as_iw3(net, gen)
        if init == "copy":
            start_as_copy(net)


def draw_as_iw3(net: nn.Module, gen: torch.Generator | None) -> None:
    nn.init.trunc_normal_(net.mask_bias, std=0.01, generator=gen)
    draw_he(net.patch, gen)
    for block in blocks(net):
        block.draw(gen)
    for conv in (net.down, net.up):  # PyTorch's default for convolutions
        bound = conv.weight[0].numel() ** -0.5
        nn.init.uniform_(conv.weight, -bound, bound, generator=gen)
        nn.init.uniform_(conv.bias, -bound, bound, generator=gen)
    weight = net.to_image.weight
    colours = torch.randn(3, *weight.shape[1:], generator=gen) * (2 / weight.shape[1]) ** 0.5
    weight.copy_(colours.repeat_interleave(PATCH**2, dim=0))  # the sub-pixels of a token start alike (ICNR)
    net.to_image.bias.zero_()


def start_as_copy(net: nn.Module) -> None:
    """Make `to_image` the inverse of `patch`, and hush what lies between.

    A filter f and its negative give relu(f) and relu(-f), whose difference is (1 + SLOPE) f: with the 48 filters of an
    orthonormal basis, 96 channels hold a cell exactly. Fewer hold its lowest frequencies; more than 96 are left random.
    """
    count = min(net.patch.out_channels // 2, 3 * PATCH**2)
    filters = cell_basis()[:count]  # (n 3 4 4)
    net.patch.weight[: 2 * count] = torch.cat([filters, -filters])
    back = filters.flatten(1).t() / (2 * (1 + SLOPE) * GAIN)  # (48 n); pixels are seen in [-1, 1], shown in [0, 1]
    net.to_image.weight.zero_()
    net.to_image.weight[:, : 2 * count, 0, 0] = torch.cat([back, -back], dim=1)
    net.to_image.bias.fill_(0.5)
    net.up.weight /= DEPTH
    net.up.bias.zero_()
    for block in blocks(net):
        block.glu_conv.w2.weight *= QUIET


def cell_basis() -> torch.Tensor:  # -> (48 3 4 4)
    """An orthonormal basis of 4x4 cells: cosines times brightness and two colour differences, low ones first."""
    k, x = torch.arange(PATCH).view(-1, 1), torch.arange(PATCH)
    cosines = torch.cos(math.pi * (x + 0.5) * k / PATCH)
    colours = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]])
    cosines, colours = (rows / rows.norm(dim=1, keepdim=True) for rows in (cosines, colours))
    basis = torch.einsum("ky,lx,nc->klncyx", cosines, cosines, colours).flatten(0, 2)
    order = [k + m + min(colour, 1) / 2 for k in range(PATCH) for m in range(PATCH) for colour in range(3)]
    return basis[torch.tensor(order).argsort(stable=True)]


def blocks(net: nn.Module) -> list[Block]:
    return [net.enc1, *net.enc2, net.dec1]
