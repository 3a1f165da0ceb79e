"""Discriminators, which score real and inpainted frames cell by cell: iw3's five, and a temporal one.

All are called as net(x, cond, mask, gen) -> (score, cells): x are the frames to score and cond the true frames, both
(T 3 H W) in [0, 1]; the score (T 1 h w) is high where x looks real; cells (bool, same shape) are those near holes.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from model.device import must_be_deterministic
from model.morphology import dilate

# T frames, C channels, H height, W width, h x w cells

CELL = 8  # pixels: side of the cells that iw3's networks score
BORDER = 2  # cells at each border that are left out, because padding dominates what they see


class L3C(nn.Module):
    """Scores cells of 8 pixels, conditioned on a summary of the true frames."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            *_down(3, 64, bias=True),
            *_normed(64),
            *_down(64, 128, bias=False),
            *_normed(128),
            SqueezeExcite(128),
            *_down(128, 256, bias=False),
        )
        self.to_cond = Condition(256)
        self.classifier = nn.Sequential(
            *_normed(256),
            SqueezeExcite(256),
            Residual(256, 512),
            SqueezeExcite(512),
            nn.ReplicationPad2d(1),
            spectral_norm(nn.Conv2d(512, 1, 3)),
        )

    def forward(self, x, cond=None, mask=None, gen=None):  # see the head of the file
        score = self.classifier(self.features(2 * x - 1) + self.to_cond(2 * cond - 1))
        return _inner(score), cells(mask)


class FFC(nn.Module):
    """Scores cells of 8 pixels from the spectrum of the whole frame; it ignores `cond`."""

    def __init__(self):
        super().__init__()
        stages = zip((3, 64, 128), (64, 128, 256), strict=True)
        self.features = nn.Sequential(
            *(layer for i, o in stages for layer in (*_down(i, o, bias=True), *_normed(o), FourierBlock(o)))
        )
        self.classifier = nn.Conv2d(256, 1, 1)

    def forward(self, x, cond=None, mask=None, gen=None):  # see the head of the file
        return _inner(self.classifier(self.features(2 * x - 1))), cells(mask)


class Ensemble(nn.Module):
    """Several networks, one of which is picked at random with probability proportional to `odds`.

    Picking does not advance `gen`, so all calls with the same state use the same member; without `gen` it is the first.
    """

    def __init__(self, key, members, odds):
        super().__init__()
        self.key, self.odds = key, odds
        self.add_module(key, nn.ModuleList(members))  # the name is part of iw3's state keys

    def pick(self, gen=None):
        """The member that `gen` picks."""
        if gen is None:
            return self.get_submodule(self.key)[0]
        odds = torch.tensor(self.odds, device=gen.device)
        return self.get_submodule(self.key)[torch.multinomial(odds, 1, generator=gen.clone_state()).item()]

    def forward(self, x, cond=None, mask=None, gen=None):  # see the head of the file
        return self.pick(gen)(x, cond, mask)


class TemporalPatch(nn.Module):
    """Temporal PatchGAN of Chang et al. 2019 (arXiv:1904.10247), which scores cubes of frames; it ignores `cond`.

    Six 3D convolutions of (3 5 5) pixels and stride (1 2 2) with spectral norm. The last one has 1 output channel, one
    score per cell of 64 pixels; the paper's has 256, over which its hinge loss is averaged.
    """

    def __init__(self, widths=(64, 128, 256, 256, 256)):
        super().__init__()
        layers, before = [], 3
        for width in (*widths, 1):
            conv = nn.Conv3d(before, width, (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2))
            layers += [spectral_norm(conv), nn.LeakyReLU(0.2, inplace=True)]
            before = width
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x, cond=None, mask=None, gen=None):  # see the head of the file
        score = self.layers((2 * x - 1).transpose(0, 1)[None])[0].transpose(0, 1)  # (1 3 T H W) inside
        return score, None if mask is None else F.adaptive_max_pool2d(mask.float(), score.shape[-2:]) > 0


DISCRIMINATORS = {
    "l3c": L3C,
    "ffc": FFC,
    "l3ce": lambda: Ensemble("l3c", [L3C() for _ in range(3)], (1.0, 0.5, 0.25)),
    "ffce": lambda: Ensemble("ffc", [FFC() for _ in range(3)], (1.0, 0.5, 0.25)),
    "l3cffce": lambda: Ensemble("desc", [L3C(), L3C(), FFC(), FFC()], (1.0, 0.5, 1.0, 0.5)),
    "t_patchgan": TemporalPatch,
}


def create_discriminator(name, seed=0):
    """The network of this name in DISCRIMINATORS, with random weights that depend on the seed alone.

    It stays in eval mode during training: train mode would iterate spectral norms in every forward pass, and processes
    with different numbers of sequences would diverge. `update_spectral_norms` does it once per optimizer step instead.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DISCRIMINATORS[name]().eval()


@torch.no_grad()
def update_spectral_norms(net):
    """Run one power iteration for every weight with spectral norm; to be called after each optimizer step."""
    for module in net.modules():
        if hasattr(module, "parametrizations"):
            module.parametrizations.train()
            module.weight  # noqa: B018 - computing it in train mode runs the iteration
            module.parametrizations.eval()


def cells(mask):  # (T 1 H W) or None -> bool (T 1 H/8-4 W/8-4) or None
    """Cells near holes: those with a hole, dilated by 1 + 1/8 of the number of cells in a row."""
    if mask is None:
        return None
    found = F.max_pool2d(mask.float(), CELL)
    return _inner(dilate(found, found.shape[-1] // 8 + 1)) > 0


class SqueezeExcite(nn.Module):
    """Channel attention from the frame's mean of each channel (Hu et al. 2018, arXiv:1709.01507)."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels // 8, 1)
        self.conv2 = nn.Conv2d(channels // 8, channels, 1)

    def forward(self, x):  # (T C h w) -> same
        return x * self.conv2(F.relu(self.conv1(x.mean(dim=(2, 3), keepdim=True)))).sigmoid()


class Residual(nn.Module):
    """Two 3x3 convolutions, and a 1x1 convolution as the residual connection."""

    def __init__(self, channels, out):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels, out, 3, padding=1, bias=False),
            *_normed(out),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            nn.GroupNorm(32, out),
        )
        self.identity = nn.Sequential(nn.Conv2d(channels, out, 1, bias=False), nn.GroupNorm(32, out))

    def forward(self, x):  # (T C h w) -> (T out h w)
        return F.leaky_relu(self.conv(x) + self.identity(x), 0.2)


class RegionMeans(nn.Module):
    """nn.AdaptiveAvgPool2d, whose backward pass CUDA has only in a form that is not deterministic."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, x):  # (T C h w) -> (T C size size)
        if must_be_deterministic(x):
            return region_means(x, self.size)
        return F.adaptive_avg_pool2d(x, self.size)


def region_means(x, size):  # (T C h w) -> (T C size size)
    """Means of size x size regions, as two matrix products; the i-th of n pixels begins at pixel i n / size."""
    rows, columns = (_averages(n, size, x) for n in x.shape[-2:])
    return rows @ x @ columns.mT


def _averages(n, size, x):  # -> (size n): row i averages the pixels of region i, which may share one with the next
    i, pixel = torch.arange(size, device=x.device)[:, None], torch.arange(n, device=x.device)
    inside = ((pixel + 1) * size > i * n) & (pixel * size < (i + 1) * n)
    return (inside / inside.sum(1, keepdim=True)).to(x.dtype)


class Condition(nn.Module):
    """One vector per frame that summarises the true frame in 4 x 4 regions."""

    def __init__(self, out, channels=32):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1, padding_mode="replicate"),
            nn.GroupNorm(4, channels),
            nn.ReLU(inplace=True),
            RegionMeans(4),
        )
        self.aggregate = nn.Linear(channels * 16, channels)
        head = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(inplace=True), spectral_norm(nn.Linear(channels, out))
        )
        self.fc = nn.ModuleList([head])

    def forward(self, y):  # (T 3 H W) in [-1, 1] -> (T out 1 1)
        return self.fc[0](self.aggregate(self.features(y).flatten(1)))[..., None, None]


class FourierUnit(nn.Module):
    """A 1x1 convolution of the spectrum: each output depends on the whole frame (Chi et al. 2020, as in LaMa)."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(2 * channels, 2 * channels, 1, bias=False)
        self.norm = nn.GroupNorm(32, 2 * channels)

    def forward(self, x):  # (T C h w) -> same
        spectrum = torch.view_as_real(torch.fft.rfft2(x.float(), norm="ortho"))  # (T C h w/2+1 2); no FFT in half
        parts = spectrum.movedim(-1, 2).flatten(1, 2)  # (T 2C h w/2+1), real and imaginary parts interleaved
        parts = F.leaky_relu(self.norm(self.conv(parts)), 0.2).float()
        spectrum = torch.complex(parts[:, 0::2], parts[:, 1::2])
        return torch.fft.irfft2(spectrum, s=x.shape[-2:], norm="ortho")


class FourierBlock(nn.Module):
    """A residual block whose convolutions also see the output of a FourierUnit."""

    def __init__(self, channels):
        super().__init__()
        self.ffc = FourierUnit(channels)
        self.fusion = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.ReplicationPad2d(1),
            nn.Conv2d(channels, channels, 3),
        )

    def forward(self, x):  # (T C h w) -> same
        return x + self.fusion(torch.cat([x, self.ffc(x).to(x.dtype)], dim=1))


def _down(channels, out, bias):
    return nn.ReplicationPad2d(1), nn.Conv2d(channels, out, 4, stride=2, bias=bias)


def _normed(channels):
    return nn.GroupNorm(32, channels), nn.LeakyReLU(0.2, inplace=True)


def _inner(x):  # (T C h w) -> (T C h-4 w-4)
    return x[..., BORDER:-BORDER, BORDER:-BORDER]
