"""Networks on formula weights and inputs, and how near their results have to be to what the original code gave."""

import numpy as np
import torch

from model.light_video_inpaint import LightVideoInpaint
from tests.support import GOLDEN
from tests.support.golden_formulas import video


def golden(name):
    """The arrays of a golden file as tensors, without its lists of names."""
    return {k: torch.from_numpy(v) for k, v in np.load(GOLDEN / f"{name}.npz").items() if v.dtype.kind != "U"}


def keys_of_the_original():
    return np.load(GOLDEN / "model_B_grads.npz")["keys"].tolist()


@torch.no_grad()
def filled(module):
    """The module with irregular sines over the flat index, of an amplitude that suits each weight's shape."""
    for k, (name, p) in enumerate(sorted(module.named_parameters())):
        i = torch.arange(p.numel())
        amp = 0.1 if p.dim() < 2 or name == "mask_bias" else 0.5 / (p.numel() / p.shape[0]) ** 0.5
        amp *= 0.2 if name == "to_image.weight" else 1.0
        # In float64 throughout: a float32 product of 0.63 and up to 9972 is off by 2e-4.
        wave = amp * torch.sin(0.37 * i.double() + 0.63 * (i * i % 9973).double() + k)
        p.copy_((scale_offset(name, p) + wave).view(p.shape))
    return module


@torch.no_grad()
def weakly_filled(module):
    """The module with regular sines of amplitude 0.05, under which most branches change little."""
    for k, (name, p) in enumerate(sorted(module.named_parameters())):
        wave = 0.05 * torch.sin(0.37 * torch.arange(p.numel()).double() + k)
        p.copy_((scale_offset(name, p) + wave).view(p.shape))
    return module


def scale_offset(name, p):  # scales of norms vary about 1, everything else about 0
    return 1.0 if p.dim() == 1 and name.endswith(".weight") else 0.0


def network(**kwargs):
    return filled(LightVideoInpaint(**kwargs)).eval()


def video_mask(frames, height, width):  # -> bool (T 1 H W)
    """A box and a strip, both of which move to the right."""
    t, _, i, j = np.ogrid[:frames, :1, :height, :width]
    left = width // 3
    box = (height // 4 <= i) & (i < height * 3 // 4) & (left + t <= j) & (j < left + 10 + 2 * t)
    strip = (i >= 10) & (i < height - 8) & (j == width - 30 + t)
    return torch.from_numpy(box | strip)


def inputs(net, frames, height, width):  # -> (T 3 H W), (T 1 H W)
    """What forward takes."""
    return net.preprocess(video(frames, height, width), video_mask(frames, height, width))


def near(found, expected, atol=2e-5):
    torch.testing.assert_close(found.detach(), expected.to(found.dtype), atol=atol, rtol=1e-5)


def near_stats(found, expected):
    x = found.detach().double()
    stats = torch.stack([x.mean(), x.std(), x.min(), x.max(), x.abs().sum()])
    torch.testing.assert_close(stats, expected.double(), rtol=1e-4, atol=1e-4)
