"""iw3's learned warp "sbs.mask_mlbw_l2", used here only for its mask of the pixels that a change of view hides.

B frames, C channels, H height, W width of the depth map, which holds nearness from 0 to 1. Divergence is the
difference in disparity between nearness 0 and 1 in percent of the width, convergence the nearness that does not move.
The network warps to the left view; for the right view, mirror its inputs and outputs.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from model.checkpoint import first_not_finite, read_file
from model.morphology import dilate, erode
from tools.cli import UserError, is_shortage, quoted

NAME = "sbs.mask_mlbw_l2"
FILE_NAME = "sbs.mlbw"  # in files that iw3 writes: of the class of all learned warps, which arguments tell apart
LAYERS = 2  # of the warped image, each with its own displacement, blended by weights
WINDOW = 4
CELL = 8  # pixels of a row that form one token
CHANNELS, HEADS = 64, 2
THRESHOLD = 0.15  # a hole has at least this probability


class OffsetBias(nn.Module):
    """Attention bias of each pair of tokens in a window, as a function of the offset between them."""

    def __init__(self):
        super().__init__()
        reach = torch.arange(1 - WINDOW, WINDOW)
        token = torch.cartesian_prod(torch.arange(WINDOW), torch.arange(WINDOW))  # (16 2) rows and columns
        offset = token[:, None] - token + WINDOW - 1  # (16 16 2) from 0 to 6
        self.register_buffer("delta", torch.cartesian_prod(reach, reach) / (WINDOW - 1))  # (49 2) in [-1, 1]
        self.register_buffer("index", (offset[..., 0] * len(reach) + offset[..., 1]).flatten())  # (256)
        self.to_bias = nn.Sequential(nn.Linear(2, 8), nn.GELU(), nn.Linear(8, 1))

    def forward(self):  # -> (16 16), the same for every head
        return self.to_bias(self.delta)[self.index].view(WINDOW**2, WINDOW**2)


class Attention(nn.Module):
    """Multi-head attention among the tokens of each window."""

    def __init__(self):
        super().__init__()
        self.qkv_proj = nn.Linear(CHANNELS, 3 * CHANNELS)
        self.head_proj = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, tokens, bias):  # (N 16 C), (16 16) -> (N 16 C)
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv_proj(tokens).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)  # (N heads 16 C/heads)
        return self.head_proj(mixed.transpose(1, 2).flatten(2))


class WindowAttention(nn.Module):
    """Attention in 4x4 windows, or in windows shifted by 2, which reach over the border, where tokens are 0."""

    def __init__(self, shift):
        super().__init__()
        self.pad = WINDOW // 2 if shift else 0
        self.mha = Attention()

    def forward(self, x, bias):  # (B C H W) -> same
        pad = self.pad
        padded = F.pad(x, (pad, pad, pad, pad)).permute(0, 2, 3, 1)
        frames, height, width, channels = padded.shape
        grid = (frames, height // WINDOW, WINDOW, width // WINDOW, WINDOW, channels)
        tokens = padded.reshape(grid).transpose(2, 3).reshape(-1, WINDOW**2, channels)
        tokens = self.mha(tokens, bias).view(*grid[:2], grid[3], WINDOW, WINDOW, channels)
        padded = tokens.transpose(2, 3).reshape(padded.shape).permute(0, 3, 1, 2)
        return padded[..., pad : height - pad, pad : width - pad]


class Block(nn.Module):
    """Window attention and a small convolution network, each added to its input."""

    def __init__(self, shift):
        super().__init__()
        self.bias = OffsetBias()
        self.mha = WindowAttention(shift)
        self.conv_mlp = nn.Sequential(
            nn.Conv2d(CHANNELS, CHANNELS, 1), nn.GELU(), nn.ReplicationPad2d(1), nn.Conv2d(CHANNELS, CHANNELS, 3)
        )

    def forward(self, x):  # (B C H W) -> same
        x = x + self.mha(x, self.bias())
        return x + self.conv_mlp(x)


class MaskMLBW(nn.Module):
    """For each pixel of the left view the displacements and weights of two layers, and the logit of being a hole."""

    def __init__(self):
        super().__init__()
        stem = CHANNELS // CELL
        self.lv1_in = nn.Sequential(nn.ReplicationPad2d((4, 4, 0, 0)), nn.Conv2d(3, stem, (1, 9)))
        self.lv2 = nn.ModuleList(Block(shift) for shift in (True, False, True, False))
        self.lv1_out = nn.Sequential(nn.ReplicationPad2d((4, 4, 0, 0)), nn.Conv2d(stem, 2 * LAYERS + 1, (1, 9)))

    def forward(self, planes):  # (B 3 H W) -> (B 2 H W) displacements, (B 2 H W) weights, (B 1 H W) hole logits
        height, width = planes.shape[-2:]
        right, bottom = WINDOW * CELL - width % (WINDOW * CELL), WINDOW - height % WINDOW  # a multiple grows as well
        left, top = right // 2, bottom // 2
        padded = F.pad(planes, (left, right - left, top, bottom - top), mode="replicate")
        stem = F.leaky_relu(self.lv1_in(padded), 0.2)
        x = _to_cells(stem)
        for block in self.lv2:
            x = block(x)
        out = self.lv1_out(_from_cells(x) + stem)[..., top : top + height, left : left + width]
        return out[:, :LAYERS], out[:, LAYERS:-1].softmax(1), out[:, -1:]


def input_planes(disparity: torch.Tensor, divergence: float, convergence: float) -> torch.Tensor:
    """The network's input (B 3 H W): the disparity map (B 1 H W) and constants for divergence and convergence."""
    strength = divergence * 0.5 * 0.01 * max(disparity.shape[-2:]) / 32
    constants = disparity.new_tensor([strength, -strength * convergence]).view(1, 2, 1, 1)
    return torch.cat((disparity, constants.expand(len(disparity), 2, *disparity.shape[-2:])), 1)


def warp(image: torch.Tensor, displacements: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The image (B C H W) in [0, 1] warped to the left view, blended from layers (B 2 H W); the same shape."""
    height, width = image.shape[-2:]
    x = torch.linspace(-1, 1, width, device=image.device)
    y = torch.linspace(-1, 1, height, device=image.device)[:, None].expand(height, width)
    blend = image.new_zeros(())
    for displacement, weight in zip(displacements.unbind(1), weights.split(1, 1), strict=True):
        grid = torch.stack((x + displacement / (width // 2 - 1), y.expand_as(displacement)), -1)  # (B H W 2)
        layer = F.grid_sample(image, grid, padding_mode="border", align_corners=True)
        blend = blend + layer.clamp(0, 1) * weight
    return blend.clamp(0, 1)


@torch.no_grad()
def hole_mask(
    net: MaskMLBW,
    depth: torch.Tensor,
    divergence: float,
    convergence: float,
    mapper: Callable | None,
    size: tuple[int, int],
) -> torch.Tensor:  # (B 1 h w) -> bool (B 1 H W)
    """The pixels that the left view hides in frames of this size, found by warping to it and back."""
    disparity = depth if mapper is None else mapper(depth)
    displacements, weights, _ = net(input_planes(disparity, divergence, convergence))
    # as in iw3: without a mapper the way back uses the depth of the original frame
    disparity = depth if mapper is None else mapper(warp(depth, displacements, weights))
    _, _, logits = net(input_planes(disparity.flip(-1), divergence, convergence))
    return holes_of(logits.flip(-1), size)


def holes_of(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:  # (B 1 h w) -> bool (B 1 H W)
    """The holes in frames of this size: logits with gaps of up to two pixels closed, resized, thresholded."""
    logits = F.interpolate(erode(dilate(logits)), size, mode="bilinear", align_corners=True)
    return logits.sigmoid() > THRESHOLD


def load_mask_network(path: str | Path, device: torch.device | str = "cpu") -> MaskMLBW:
    """The network from iw3's weight file, in eval mode.

    Raises FileNotFoundError, or UserError for a file that is damaged or holds something else.
    """
    payload = read_file(path)
    if payload.get("name") not in (NAME, FILE_NAME):
        raise UserError(
            f"{path} holds {quoted(payload.get('name'))}, expected {NAME!r}: pass iw3's file of that network"
        )
    arguments = payload.get("kwargs")
    if isinstance(arguments, dict) and not arguments.get("hole_mask", True):
        raise UserError(
            f"{path} holds a learned warp of iw3 without a mask, expected {NAME!r}: pass iw3_mask_mlbw_*.pth"
        )
    net = MaskMLBW()
    try:
        net.load_state_dict(payload["state_dict"])
    except Exception as error:  # no state_dict, or of another network: load_state_dict raises many kinds
        if is_shortage(error):
            raise
        raise UserError(f"{path} does not hold the weights of {NAME!r}: download iw3's file again") from None
    if key := first_not_finite(net.state_dict()):
        raise UserError(f"{path}: {key} of {NAME!r} holds NaN or infinity: download iw3's file again")
    return net.to(device).eval()


def _to_cells(x):  # (B C H W) -> (B C*8 H W/8)
    return x.unflatten(-1, (-1, CELL)).permute(0, 1, 4, 2, 3).flatten(1, 2)


def _from_cells(x):  # (B C*8 H W/8) -> (B C H W)
    return x.unflatten(1, (-1, CELL)).permute(0, 1, 3, 4, 2).flatten(-2)
