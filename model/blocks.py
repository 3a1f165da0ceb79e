"""Building blocks of the network: gated token MLPs over windows of a clip, and gated convolutions.

T frames of all B sequences of a pass, one after the other; C channels, H height, W width (in tokens), N tokens of a
window, P windows. Maps are (T C H W) in channels-last memory, so that the token MLPs see (T H W C) without a copy.
"""

import torch
import torch.nn.functional as F
from torch import nn

aten = torch.ops.aten  # has the backward functions of GELU and layer norm, which torch.nn.functional lacks

EPSILON = 1e-5  # of layer norms
PATCH = 4  # side of the cell of pixels that becomes a token


class _EdgePad(torch.autograd.Function):
    """Replicate padding through which no gradient flows."""

    @staticmethod
    def forward(ctx, x, left, right, top, bottom):
        height, width = x.shape[-2:]
        ctx.inner = rows, cols = slice(top, top + height), slice(left, left + width)
        # F.pad would fill all of it first, and with mode="replicate" lose the channels-last layout on CUDA
        size = (*x.shape[:-2], top + height + bottom, left + width + right)
        padded = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        padded[..., rows, cols] = x
        padded[..., rows, : cols.start] = x[..., :1]
        padded[..., rows, cols.stop :] = x[..., -1:]
        padded[..., : rows.start, :] = padded[..., rows.start : rows.start + 1, :]
        padded[..., rows.stop :, :] = padded[..., rows.stop - 1 : rows.stop, :]
        return padded

    @staticmethod
    def backward(ctx, grad):
        return grad[(..., *ctx.inner)], None, None, None, None


def draw_he(conv, gen):
    """Give a convolution He-normal weights by its fan-out, and a bias of 0."""
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu", generator=gen)
    nn.init.zeros_(conv.bias)


def edge_pad(x, left, right, top, bottom):  # (T C H W) -> (T C H+top+bottom W+left+right)
    """The map in channels-last memory, padded with its border values; as in iw3, the padding passes no gradient on."""
    return _EdgePad.apply(x, left, right, top, bottom)


class ChannelNorm(nn.Module):
    """The scale of a layer norm over channels, which has no bias; the token MLP applies it."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))


class _GatedMix(torch.autograd.Function):
    """The token MLP without its residual; it saves less for the backward pass than autograd and recomputes the rest.

    Saved are the input, the inputs of the two GELUs and the mixed gate: 7 values per channel at ratio 2 instead of 16.
    Recomputed are norms, GELUs and products, which cost little beside the matrix products.
    """

    @staticmethod
    def forward(ctx, t, norm1, norm2, w_in, b_in, mix, b_mix, w_out, b_out):  # (N P C), weights -> (N P C)
        u, v, gate = _gates(t, norm1, norm2, w_in, b_in)
        gate = torch.addmm(b_mix[:, None], mix, gate.flatten(1)).view(u.shape)
        ctx.save_for_backward(t, u, v, gate, norm1, norm2, w_in, mix, w_out)
        return F.linear(F.gelu(u).mul_(gate), w_out, b_out)

    @staticmethod
    def backward(ctx, grad):  # g_x is the gradient of x
        t, u, v, gate, norm1, norm2, w_in, mix, w_out = ctx.saved_tensors
        grad = grad.flatten(0, 1)
        gated = F.gelu(u)
        g_product = (grad @ w_out).view(u.shape)
        g_gate = (g_product * gated).flatten(1)  # (N P*H)
        g_w_out = grad.t() @ gated.mul_(gate).flatten(0, 1)
        g_u = aten.gelu_backward(g_product.mul_(gate), u).flatten(0, 1)
        del gated, g_product  # here and below: lowers the peak of memory

        activated = F.gelu(v)
        normed, *moments = aten.native_layer_norm(activated, norm2.shape, norm2, None, EPSILON)
        g_mix = g_gate @ normed.flatten(1).t()
        g_normed = (mix.t() @ g_gate).view(v.shape)
        g_b_mix = g_gate.sum(1)
        del normed, g_gate
        g_activated, g_norm2, _ = layer_norm_backward(g_normed, activated, moments, norm2)
        del g_normed, activated
        g_v = aten.gelu_backward(g_activated, v).flatten(0, 1)
        del g_activated

        normed, *moments = aten.native_layer_norm(t, norm1.shape, norm1, None, EPSILON)
        w_u, w_v = w_in.chunk(2)
        g_normed = torch.addmm(g_u @ w_u, g_v, w_v).view(t.shape)
        normed = normed.flatten(0, 1)
        g_w_in = torch.cat([g_u.t() @ normed, g_v.t() @ normed])
        g_b_in = torch.cat([g_u.sum(0), g_v.sum(0)])
        g_t, g_norm1, _ = layer_norm_backward(g_normed, t, moments, norm1)
        return g_t, g_norm1, g_norm2, g_w_in, g_b_in, g_mix, g_b_mix, g_w_out, grad.sum(0)


def _gates(t, norm1, norm2, w_in, b_in, kept=slice(None)):  # (N P C) -> (K P H), (N P H), (N P H)
    """Both halves of the first product, the first one of the kept tokens alone, and the gate before it is mixed."""
    n = F.layer_norm(t, norm1.shape, norm1, eps=EPSILON)
    # A product for each half: halves of one result would be strided, and so copied in both directions.
    (w_u, w_v), (b_u, b_v) = w_in.chunk(2), b_in.chunk(2)
    u, v = F.linear(n[kept], w_u, b_u), F.linear(n, w_v, b_v)
    del n  # lowers the peak of memory where nothing is saved
    return u, v, F.layer_norm(F.gelu(v), norm2.shape, norm2, eps=EPSILON)


def layer_norm_backward(grad, x, moments, weight):  # -> gradients of x and weight, None
    return aten.native_layer_norm_backward(grad, x, weight.shape, *moments, weight, None, [True, True, False])


def _as_autocast(t, *others):
    """The tensors in the precision of autocast, or unchanged without it.

    As in iw3 under autocast, everything is computed in that precision, also norms, which autocast keeps in fp32.
    """
    device = t.device.type
    if not torch.is_autocast_enabled(device):
        return t, *others
    return tuple(value.to(torch.get_autocast_dtype(device)) for value in (t, *others))


class TokenMLP(nn.Module):
    """Gated MLP whose gate mixes the tokens of a window; the result includes the residual.

    Tokens are the first axis, (N P C), so that mixing them is one matrix product over all windows at once.
    """

    def __init__(self, channels, tokens, ratio):
        super().__init__()
        hidden = channels * ratio
        self.proj_in = nn.Linear(channels, 2 * hidden)
        self.proj_spatial = nn.Conv1d(tokens, tokens, 1)  # iw3's shape (N N 1); applied as a matrix
        self.proj_out = nn.Linear(hidden, channels)

    def forward(self, t, norm1, norm2):  # (N P C) -> (N P C)
        mix = self.proj_spatial.weight[:, :, 0]
        weights = [norm1.weight, norm2.weight, self.proj_in.weight, self.proj_in.bias]
        weights += [mix, self.proj_spatial.bias, self.proj_out.weight, self.proj_out.bias]
        inputs = _as_autocast(t, *weights)
        with torch.autocast(t.device.type, enabled=False):
            return _GatedMix.apply(*inputs) + t

    def project(self, t, norm1, norm2, kept=slice(None)):  # (N P C) -> (K P H), (N P H)
        """What is computed of each token by itself, without gradients: values of the kept tokens, gates of all."""
        inputs = _as_autocast(t, norm1.weight, norm2.weight, self.proj_in.weight, self.proj_in.bias)
        with torch.autocast(t.device.type, enabled=False):
            u, _, gates = _gates(*inputs, kept)
            return F.gelu(u), gates

    def mix(self, t, values, gates, kept):  # (K P C), K times (P H), (N P H) -> (K P C)
        """The result of the kept tokens from what `project` gives of all, without gradients."""
        weights = self.proj_spatial.weight[kept, :, 0], self.proj_spatial.bias[kept, None]
        mix, b_mix, w_out, b_out = _as_autocast(*weights, self.proj_out.weight, self.proj_out.bias)
        with torch.autocast(t.device.type, enabled=False):
            mixed = torch.addmm(b_mix, mix, gates.flatten(1)).view(-1, *gates.shape[1:])
            parts = [F.linear(gate.mul_(value), w_out, b_out) for gate, value in zip(mixed, values, strict=True)]
            return torch.stack(parts) + t

    def draw(self, gen):
        """Give the weights their initial values, with which the gate is near 1."""
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
        # Shifted windows reach over the border, where tokens are 0 and take part like all others.
        (py, px), (rows, cols) = self.pad, self.size
        padded = x.permute(0, 2, 3, 1)
        if py:  # F.pad copies even when there is nothing to add
            below, right = (-(n + p) % s for n, p, s in zip(x.shape[-2:], self.pad, self.size, strict=True))
            padded = F.pad(padded, (0, 0, px, right, py, below))
        frames, height, width, channels = padded.shape
        grid = (frames, height // rows, rows, width // cols, cols, channels)
        t = padded.reshape(grid).permute(2, 4, 0, 1, 3, 5).reshape(rows * cols, -1, channels)
        t = self.gmlp(t, norm1, norm2)
        t = t.view(rows, cols, frames, height // rows, width // cols, channels).permute(2, 3, 0, 4, 1, 5)
        out = t.reshape(padded.shape)[:, py : py + x.shape[-2], px : px + x.shape[-1]]
        return out.permute(0, 3, 1, 2)


class TemporalMLP(nn.Module):
    """Token MLP over the frames of a sequence at each position."""

    def __init__(self, channels, frames, ratio):
        super().__init__()
        self.frames = frames  # of a sequence
        self.gmlp = TokenMLP(channels, frames, ratio)

    def forward(self, x, norm1, norm2):  # (T C H W) -> (T C H W)
        t = x.permute(0, 2, 3, 1).unflatten(0, (-1, self.frames)).transpose(0, 1)  # (frames B H W C)
        out = self.gmlp(t.flatten(1, 3), norm1, norm2)  # of one sequence, t is flattened without a copy
        return out.view(t.shape).transpose(0, 1).flatten(0, 1).permute(0, 3, 1, 2)

    def project(self, x, norm1, norm2, kept=slice(None)):  # (T C H W) -> (K H*W hidden), (T H*W hidden)
        """What is computed of each frame by itself, without gradients: see TokenMLP."""
        return self.gmlp.project(x.permute(0, 2, 3, 1).flatten(1, 2), norm1, norm2, kept)

    def mix(self, x, values, gates, kept):  # (K C H W), K times (H*W hidden), (T H*W hidden) -> (K C H W)
        """The result of the kept frames of one sequence, without gradients."""
        t = x.permute(0, 2, 3, 1)
        return self.gmlp.mix(t.flatten(1, 2), values, gates, kept).view(t.shape).permute(0, 3, 1, 2)


class GatedConv(nn.Module):
    """1x1 convolution, gated linear unit, 3x3 convolution."""

    def __init__(self, channels):
        super().__init__()
        self.w1 = nn.Conv2d(channels, channels, 1)
        self.w2 = nn.Conv2d(channels // 2, channels, 3)

    def forward(self, x):  # (T C H W) -> (T C H W)
        return self.w2(edge_pad(self.gate(x), 1, 1, 1, 1))

    def gate(self, x):  # (T C H W) -> (T C/2 H W)
        """What is computed of each position by itself."""
        # The 1x1 convolution as a matrix product over (T H W C): 1.15 times as fast, forward and backward.
        gated = F.glu(F.linear(x.permute(0, 2, 3, 1), self.w1.weight.flatten(1), self.w1.bias))
        return gated.permute(0, 3, 1, 2)


class Block(nn.Module):
    """A token MLP and a gated convolution.

    As in iw3 the residual of the token MLP is added twice, so each block doubles its input; trained weights need it.
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

    def project(self, x, kept=slice(None)):  # (T C H W) -> (K H*W hidden), (T H*W hidden)
        """Of a temporal block what is computed of each frame by itself, without gradients."""
        return self.gmlp.project(x, self.norm1, self.norm2, kept)

    def mix(self, x, values, gates, kept=slice(None)):  # (K C H W), K times (H*W hidden), (T H*W hidden) -> (K C H W)
        """The result of the kept frames of one sequence, from what `project` gives of its frames."""
        x = x + self.gmlp.mix(x, values, gates, kept)
        return x + self.glu_conv(x)

    def draw(self, gen):
        """Give the weights iw3's initial values."""
        self.gmlp.gmlp.draw(gen)
        for norm in (self.norm1, self.norm2):
            nn.init.ones_(norm.weight)
        for conv in (self.glu_conv.w1, self.glu_conv.w2):
            draw_he(conv, gen)


def spatial_block(channels, size, ratio, shift=False):
    """Block over size x size windows of each frame."""
    return Block(channels, SpatialMLP(channels, (size, size), ratio, shift), ratio)


def temporal_block(channels, frames, ratio):
    """Block over the frames of a sequence at each position."""
    return Block(channels, TemporalMLP(channels, frames, ratio), ratio)
