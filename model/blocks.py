"""What the network is made of: gated token MLPs over windows of a clip, and gated convolutions.

T frames, C channels, H height, W width (in tokens), N tokens of a window, P windows. Maps are (T C H W) in
channels-last memory, so that the token MLPs see (T H W C) without a copy.
"""

import torch
import torch.nn.functional as F
from torch import nn

PATCH = 4  # side of the cell of pixels that becomes a token


class _EdgePad(torch.autograd.Function):
    """Replicate padding whose border copies carry no gradient."""

    @staticmethod
    def forward(ctx, x, left, right, top, bottom):
        ctx.inner = (slice(top, top + x.shape[-2]), slice(left, left + x.shape[-1]))
        padded = F.pad(x, (left, right, top, bottom))  # mode="replicate" would give up channels-last on CUDA
        rows, cols = ctx.inner
        padded[..., : cols.start] = padded[..., cols.start : cols.start + 1]
        padded[..., cols.stop :] = padded[..., cols.stop - 1 : cols.stop]
        padded[..., : rows.start, :] = padded[..., rows.start : rows.start + 1, :]
        padded[..., rows.stop :, :] = padded[..., rows.stop - 1 : rows.stop, :]
        return padded

    @staticmethod
    def backward(ctx, grad):
        return grad[(..., *ctx.inner)], None, None, None, None


def draw_he(conv, gen):
    """Fill a convolution with He-normal weights over its fan out, and no bias."""
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu", generator=gen)
    nn.init.zeros_(conv.bias)


def edge_pad(x, left, right, top, bottom):  # (T C H W) -> (T C H+top+bottom W+left+right)
    """The map with its border values repeated outwards; as in iw3 only the original pixels receive gradient."""
    return _EdgePad.apply(x, left, right, top, bottom)


class ChannelNorm(nn.Module):
    """Layer norm over the last axis with a scale and no bias, computed in the autocast dtype as iw3 does."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x):  # (... C) -> (... C)
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        with torch.autocast(device, enabled=False):
            return F.layer_norm(x.to(dtype), self.weight.shape, self.weight.to(dtype), eps=1e-5)


class TokenMLP(nn.Module):
    """Gated MLP whose gate mixes the tokens of a window; the result includes its own residual.

    Tokens come first, (N P C), so that mixing them is one matrix product over all windows at once.
    """

    def __init__(self, channels, tokens, ratio):
        super().__init__()
        hidden = channels * ratio
        self.proj_in = nn.Linear(channels, 2 * hidden)
        self.proj_spatial = nn.Conv1d(tokens, tokens, 1)  # iw3's shape (N N 1); applied as a matrix
        self.proj_out = nn.Linear(hidden, channels)

    def forward(self, t, norm1, norm2):  # (N P C) -> (N P C)
        n, proj, mix = norm1(t), self.proj_in, self.proj_spatial
        # Each half by its own product: halves of one result would be strided, and copied in both directions.
        u, v = (F.gelu(F.linear(n, w, b)) for w, b in zip(proj.weight.chunk(2), proj.bias.chunk(2), strict=True))
        v = torch.addmm(mix.bias[:, None], mix.weight[:, :, 0], norm2(v).flatten(1)).view(u.shape)
        return self.proj_out(u * v) + t

    def draw(self, gen):
        """Fill the weights so that the gate starts near 1."""
        for linear in (self.proj_in, self.proj_out):
            nn.init.trunc_normal_(linear.weight, std=0.02, generator=gen)
            nn.init.zeros_(linear.bias)
        bound = 1e-3 / self.proj_in.in_features
        nn.init.uniform_(self.proj_spatial.weight, -bound, bound, generator=gen)
        nn.init.ones_(self.proj_spatial.bias)


class SpatialMLP(nn.Module):
    """Token MLP over the size x size windows of each frame, or over windows shifted by half their size."""

    def __init__(self, channels, size, ratio, shift=False):
        super().__init__()
        self.size = size  # (rows, columns)
        self.pad = (size[0] // 2, size[1] // 2) if shift else (0, 0)
        self.gmlp = TokenMLP(channels, size[0] * size[1], ratio)

    def forward(self, x, norm1, norm2):  # (T C H W) -> (T C H W)
        # Shifted windows that hang over the border hold zero tokens, which take part like any other.
        py, px = self.pad
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, px, px, py, py))
        frames, height, width, channels = padded.shape
        rows, cols = self.size
        grid = (frames, height // rows, rows, width // cols, cols, channels)
        t = padded.reshape(grid).permute(2, 4, 0, 1, 3, 5).reshape(rows * cols, -1, channels)
        t = self.gmlp(t, norm1, norm2)
        t = t.view(rows, cols, frames, height // rows, width // cols, channels).permute(2, 3, 0, 4, 1, 5)
        out = t.reshape(padded.shape)[:, py : height - py, px : width - px]
        return out.permute(0, 3, 1, 2)


class TemporalMLP(nn.Module):
    """Token MLP over all frames of each position."""

    def __init__(self, channels, frames, ratio):
        super().__init__()
        self.gmlp = TokenMLP(channels, frames, ratio)

    def forward(self, x, norm1, norm2):  # (T C H W) -> (T C H W)
        t = x.permute(0, 2, 3, 1)  # (T H W C): frames are first already
        out = self.gmlp(t.flatten(1, 2), norm1, norm2)
        return out.view(t.shape).permute(0, 3, 1, 2)


class GatedConv(nn.Module):
    """1x1 convolution, gated linear unit, 3x3 convolution."""

    def __init__(self, channels):
        super().__init__()
        self.w1 = nn.Conv2d(channels, channels, 1)
        self.w2 = nn.Conv2d(channels // 2, channels, 3)

    def forward(self, x):  # (T C H W) -> (T C H W)
        # The 1x1 convolution as a matrix product over (T H W C): measured 1.15 times as fast, forward and backward.
        gated = F.glu(F.linear(x.permute(0, 2, 3, 1), self.w1.weight.flatten(1), self.w1.bias))
        return self.w2(edge_pad(gated.permute(0, 3, 1, 2), 1, 1, 1, 1))


class Block(nn.Module):
    """A token MLP and a gated convolution.

    iw3 adds the residual of the token MLP a second time; weights depend on it, so each block doubles its input.
    """

    def __init__(self, channels, gmlp, ratio):
        super().__init__()
        self.gmlp = gmlp  # spatial or temporal
        self.norm1 = ChannelNorm(channels)
        self.norm2 = ChannelNorm(channels * ratio)
        self.glu_conv = GatedConv(channels)

    def forward(self, x):  # (T C H W) -> (T C H W)
        x = x + self.gmlp(x, self.norm1, self.norm2)
        return x + self.glu_conv(x)

    def draw(self, gen):
        """Fill the weights with iw3's initial values."""
        self.gmlp.gmlp.draw(gen)
        for norm in (self.norm1, self.norm2):
            nn.init.ones_(norm.weight)
        for conv in (self.glu_conv.w1, self.glu_conv.w2):
            draw_he(conv, gen)


def spatial_block(channels, size, ratio, shift=False):
    """Block over size x size windows of each frame."""
    return Block(channels, SpatialMLP(channels, (size, size), ratio, shift), ratio)


def temporal_block(channels, frames, ratio):
    """Block over the frames of each position."""
    return Block(channels, TemporalMLP(channels, frames, ratio), ratio)
