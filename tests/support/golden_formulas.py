"""Inputs and weights that are formulas, so that golden numbers from another implementation can be restated."""

import math

import torch

# T frames, B batch, C channels, H height, W width; everything is computed in float64 and cast to float32


def video(frames, height, width):  # -> (T 3 H W) in [0.05, 0.95]
    """A drifting colour pattern: .5 + .45 sin(.11 i + .07 (c+1) j + .5 t + c)."""
    t, c, i, j = torch.meshgrid(*(torch.arange(n).double() for n in (frames, 3, height, width)), indexing="ij")
    return (0.5 + 0.45 * torch.sin(0.11 * i + 0.07 * (c + 1) * j + 0.5 * t + c)).float()


def feature(*shape, a=0.31, amp=1.0):  # -> shape, in [-amp, amp]
    """A pattern over the flat index n: amp sin(a n + .01 (n mod 97))."""
    n = torch.arange(math.prod(shape))
    return (amp * torch.sin(a * n.double() + 0.01 * (n % 97).double())).float().view(shape)


def wave(numel, k):  # -> (numel) in [-1, 1]
    """The irregular sine that fills tensor number k: sin(.37 i + .63 (i^2 mod 9973) + k)."""
    i = torch.arange(numel)
    return torch.sin(0.37 * i.double() + 0.63 * ((i * i) % 9973).double() + k)


@torch.no_grad()
def fill(named_tensors):
    """Overwrite parameters, in sorted order of their names, with waves of an amplitude that suits their shape."""
    for k, (name, tensor) in enumerate(sorted(dict(named_tensors).items())):
        flat = tensor.dim() < 2 or name == "mask_bias"
        amp = 0.1 if flat else 0.5 / math.sqrt(tensor.numel() / tensor.shape[0])
        amp *= 0.2 if name == "to_image.weight" else 1.0
        offset = 1.0 if tensor.dim() == 1 and name.endswith(".weight") else 0.0
        tensor.copy_((offset + amp * wave(tensor.numel(), k)).view(tensor.shape))
