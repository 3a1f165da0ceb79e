"""The reference of the training step: iw3's network written plainly from its description, without optimisations.

T frames, C channels, H height, W width, P windows, N tokens of a window. The weights have iw3's names, so that
it loads the state of model.light_video_inpaint.
"""

import torch
import torch.nn.functional as F
from torch import nn


def edge_pad(x, left, right, top, bottom):  # (T C H W) -> larger
    """The map padded with its border values; the copies carry no gradient."""
    padded = F.pad(x.detach(), (left, right, top, bottom), mode="replicate")
    inside = F.pad(torch.ones_like(x[:1, :1]), (left, right, top, bottom)) > 0
    return torch.where(inside, F.pad(x, (left, right, top, bottom)), padded)


class ChannelNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, t):  # (P N C) -> same
        return F.layer_norm(t, (t.shape[-1],), self.weight)


class TokenMLP(nn.Module):
    def __init__(self, channels, tokens, ratio):
        super().__init__()
        self.proj_in = nn.Linear(channels, 2 * channels * ratio)
        self.proj_spatial = nn.Conv1d(tokens, tokens, 1)
        self.proj_out = nn.Linear(channels * ratio, channels)

    def forward(self, t, norm1, norm2):  # (P N C) -> same
        u, v = F.gelu(self.proj_in(norm1(t))).chunk(2, dim=-1)
        v = self.proj_spatial(norm2(v))
        return self.proj_out(u * v) + t


class SpatialMLP(nn.Module):
    def __init__(self, channels, size, ratio, shift):
        super().__init__()
        self.size, self.shift = size, size // 2 if shift else 0
        self.gmlp = TokenMLP(channels, size * size, ratio)

    def forward(self, x, norm1, norm2):  # (T C H W) -> same
        s, p = self.size, self.shift
        x = F.pad(x, (p, p, p, p))
        T, C, H, W = x.shape
        t = x.reshape(T, C, H // s, s, W // s, s).permute(0, 2, 4, 3, 5, 1).reshape(-1, s * s, C)
        t = self.gmlp(t, norm1, norm2)
        x = t.reshape(T, H // s, W // s, s, s, C).permute(0, 5, 1, 3, 2, 4).reshape(T, C, H, W)
        return x[:, :, p : H - p, p : W - p]


class TemporalMLP(nn.Module):
    def __init__(self, channels, frames, ratio):
        super().__init__()
        self.gmlp = TokenMLP(channels, frames, ratio)

    def forward(self, x, norm1, norm2):  # (T C H W) -> same
        T, C, H, W = x.shape
        t = x.permute(2, 3, 0, 1).reshape(H * W, T, C)
        t = self.gmlp(t, norm1, norm2)
        return t.reshape(H, W, T, C).permute(2, 3, 0, 1)


class GatedConv(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.w1 = nn.Conv2d(channels, channels, 1)
        self.w2 = nn.Conv2d(channels // 2, channels, 3)

    def forward(self, x):  # (T C H W) -> same
        return self.w2(edge_pad(F.glu(self.w1(x), dim=1), 1, 1, 1, 1))


class Block(nn.Module):
    def __init__(self, gmlp, channels, ratio):
        super().__init__()
        self.gmlp = gmlp
        self.norm1 = ChannelNorm(channels)
        self.norm2 = ChannelNorm(channels * ratio)
        self.glu_conv = GatedConv(channels)

    def forward(self, x):  # (T C H W) -> same
        x = x + self.gmlp(x, self.norm1, self.norm2)
        return x + self.glu_conv(x)


class PlainNetwork(nn.Module):
    """LightVideoInpaintV1 written plainly: (12 3 H W), (12 1 H W) -> (12 3 H-32 W-32)."""

    def __init__(self, base_dim=96, lv2_mlp_ratio=1):
        super().__init__()
        c, c2, r = base_dim, 2 * base_dim, lv2_mlp_ratio
        self.mask_bias = nn.Parameter(torch.zeros(1, c, 1, 1))
        self.patch = nn.Conv2d(3, c, 4, stride=4)
        self.enc1 = Block(SpatialMLP(c, 16, 2, False), c, 2)
        self.down = nn.Conv2d(c, c2, 2, stride=2)
        self.enc2 = nn.Sequential(
            Block(SpatialMLP(c2, 8, r, True), c2, r),
            Block(TemporalMLP(c2, 12, 2), c2, 2),
            Block(SpatialMLP(c2, 8, r, False), c2, r),
            Block(TemporalMLP(c2, 12, 2), c2, 2),
            Block(SpatialMLP(c2, 8, r, True), c2, r),
        )
        self.up = nn.Conv2d(c2, 4 * c, 1)
        self.dec1 = Block(SpatialMLP(c, 16, 2, False), c, 2)
        self.to_image = nn.Conv2d(c, 48, 1)

    def forward(self, x, mask):
        source, (H, W) = x, x.shape[-2:]
        pad = (0, 64 - W % 64, 0, 64 - H % 64)
        x, holes = edge_pad((x - 0.5) / 0.5, *pad), F.max_pool2d(edge_pad(mask, *pad), 4) > 0.99
        h = torch.where(holes, self.mask_bias, F.leaky_relu(self.patch(x), 0.1))
        skip = self.enc1(h)
        h = self.enc2(self.down(skip))
        h = self.dec1(skip + F.pixel_shuffle(self.up(h), 2))
        y = F.pixel_shuffle(self.to_image(h), 4)[..., :H, :W]
        source, mask, y = (v[..., 16:-16, 16:-16] for v in (source, mask, y))
        return source * (1 - mask) + y * mask
