"""Distances between images in the domain of the discrete cosine transform."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F

from train.objectives.diff_aug import margin, spin

# N images, C channels or planes, H height, W width

LUMA = (0.299, 0.587, 0.114)
MAX_DEGREES = 360.0
FIXED_DEGREES = 45.0


def dct_loss(output, target, window=None, overlap=False, rotated=False, clamp=True, gen=None):  # (N 3 H W) x2 -> ()
    """Mean absolute difference of DCT-II coefficients, in windows of `window` pixels or, without it, of whole images.

    overlap: the mean of this and of the same with windows shifted by half a window. rotated: half of this, plus the
    same for both images rotated by random angles from `gen`, or by 45 degrees without it. clamp: values are clamped to
    [0, 1], and 0.001 times the L1 distance of the unclamped ones is added, which pulls them back into the range.
    """
    x, y = planes(output), planes(target)
    loss = _overlapping(x, y, window, clamp) if overlap else _windowed(x, y, window, clamp)
    if not rotated:
        return loss
    degrees = FIXED_DEGREES if gen is None else _angles(len(x), gen)
    return 0.5 * loss + _windowed(_rotated(x, degrees), _rotated(y, degrees), window, clamp)


def planes(rgb):  # (N 3 H W) -> (N 4 H W)
    """Luma of the colours clamped to [0, 1], then the colours, unclamped."""
    weights = torch.tensor(LUMA, device=rgb.device).view(3, 1, 1)
    return torch.cat([(rgb.clamp(0, 1) * weights).sum(dim=1, keepdim=True), rgb], dim=1)


def dct(x):  # (... H W) -> same
    """Orthonormal DCT-II over both axes."""
    height, width = x.shape[-2:]
    return _cosines(height, x.device) @ x @ _cosines(width, x.device).T


def clear_cache() -> None:
    """Forget the basis functions, which after a pass with fake tensors are fake."""
    _cosines.cache_clear()


@lru_cache(maxsize=16)
def _cosines(n, device):  # -> (n n), row k is basis function k
    with torch.inference_mode(False):  # a tensor that an evaluation caches must be usable in training, too
        k = torch.arange(n, dtype=torch.float64)
        basis = torch.cos(math.pi / n * k[:, None] * (k + 0.5)) * math.sqrt(2 / n)
        basis[0] /= math.sqrt(2)
        return basis.float().to(device)


def _windowed(x, y, window, clamp):
    if window is not None:
        x, y = _pad(x, window), _pad(y, window)
    if not clamp:
        return _coefficients(x - y, window)
    return _coefficients(x.clamp(0, 1) - y.clamp(0, 1), window) + 0.001 * (x - y).abs().mean()


def _overlapping(x, y, window, clamp):
    half = (window // 2,) * 4
    return 0.5 * (_windowed(x, y, window, clamp) + _windowed(F.pad(x, half), F.pad(y, half), window, clamp))


def _coefficients(difference, window):  # the DCT is linear, so one transform of the difference is enough
    if window is not None:
        # (N C rows columns window window)
        difference = difference.unfold(-2, window, window).unfold(-2, window, window)
    return dct(difference).abs().mean()


def _pad(x, window):
    pad = []
    for size in (x.shape[-1], x.shape[-2]):
        missing = -size % window
        pad += [missing // 2, missing - missing // 2]
    return F.pad(x, pad)


def _rotated(x, degrees):  # padded with zeros so that no corner is cut off
    py, px = margin(x.shape[-2]), margin(x.shape[-1])
    return spin(F.pad(x, (px, px, py, py)), degrees)


def _angles(n, gen):
    return MAX_DEGREES * (2 * torch.rand(n, generator=gen, device=gen.device) - 1)
