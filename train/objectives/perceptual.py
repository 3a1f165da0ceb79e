"""The LPIPS distance: between features of two images in a VGG16 that was trained on ImageNet."""

import importlib.util
import socket
from http.client import HTTPException
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

from tools.cli import UserError, is_shortage

# N images, H height, W width of the images; C channels, h height, w width of a layer's features

TRUNK_FILE = "vgg16-397923af.pth"
TRUNK_URL = f"https://download.pytorch.org/models/{TRUNK_FILE}"
TAPS = (3, 8, 15, 22, 29)  # the ReLUs of VGG16 whose features are compared: 2, 4, 7, 10, 13
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
EPSILON = 1e-8
DOWNLOAD_SECONDS = 20


class Perceptual(nn.Module):
    """LPIPS of Zhang et al. 2018 (arXiv:1801.03924) on frozen weights.

    trunk: as from `vgg16_trunk`. head: one weight per channel for each of the five tapped layers.
    """

    def __init__(self, trunk, head):
        super().__init__()
        self.trunk = trunk.eval().requires_grad_(False)
        for i, weights in enumerate(head):
            self.register_buffer(f"head{i}", weights.reshape(-1, 1, 1).float())
        self.register_buffer("shift", torch.tensor(SHIFT).view(3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(3, 1, 1))

    def forward(self, output, target):  # (N 3 H W) in [0, 1] x2 -> five (N 1 h w)
        """One distance map per layer; LPIPS is the sum of their means. The target's features carry no gradient."""
        with torch.no_grad():
            target_features = self.features(target)
        features = self.features(output)
        with torch.autocast(output.device.type, enabled=False):
            heads = (getattr(self, f"head{i}") for i in range(len(TAPS)))
            return [
                _distance(a.float(), b.float(), head)
                for a, b, head in zip(features, target_features, heads, strict=True)
            ]

    def features(self, rgb):  # (N 3 H W) in [0, 1] -> five (N C h w)
        """The outputs of the tapped layers."""
        x = (2 * rgb - 1 - self.shift) / self.scale
        tapped = []
        for i, layer in enumerate(self.trunk):
            x = layer(x)
            if i in TAPS:
                tapped.append(x)
        return tapped


def _distance(a, b, head):  # (N C h w) x2, (C 1 1) -> (N 1 h w)
    return ((_normalise(a) - _normalise(b)).square() * head).sum(dim=1, keepdim=True)


def _normalise(x):  # (N C h w) -> same
    # as in iw3 the epsilon is added to every channel, which gives smoother gradients than the official norm + 1e-10
    return x * (x.square() + EPSILON).sum(dim=1, keepdim=True).rsqrt()


def lpips(maps):  # five (N 1 h w) -> ()
    """The distance over whole images, averaged over the batch."""
    return sum(m.mean() for m in maps)


def lpips_in_holes(maps, holes):  # five (N 1 h w), (N 1 H W) bool -> ()
    """The distance inside holes: each layer's map, weighted by the share of hole pixels in each of its cells."""
    total = 0
    for m in maps:
        share = F.adaptive_avg_pool2d(holes.to(m.dtype), m.shape[-2:])
        total = total + (m * share).sum() / share.sum().clamp(min=1e-3 * share.numel())
    return total


def vgg16_trunk(widths=(64, 128, 256, 512, 512)):
    """The layers of torchvision's `vgg16().features`, with random weights and without the last pooling."""
    layers, before = [], 3
    for width, convs in zip(widths, (2, 2, 3, 3, 3), strict=True):
        for _ in range(convs):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(inplace=True)]
            before = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers[:-1])


def load_perceptual(weights_dir=None, device="cpu"):
    """The official LPIPS v0.1 head on torchvision's VGG16, from `weights_dir` or torch's hub cache, or downloaded.

    Raises UserError when the trunk is unavailable or the package `lpips` is missing.
    """
    path = Path(weights_dir or Path(torch.hub.get_dir()) / "checkpoints") / TRUNK_FILE
    if not path.exists():
        _download(path)
    trunk = vgg16_trunk()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        trunk.load_state_dict({k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")})
    except Exception as error:  # torch.load and load_state_dict raise many kinds for a file that is something else
        if is_shortage(error):
            raise
        raise UserError(
            f"{path} cannot be read as VGG16's weights: delete it, then {TRUNK_URL} is downloaded"
        ) from error
    return Perceptual(trunk, read_head()).to(device)


def read_head():  # -> five (C)
    """The head's weights from the package `lpips` (v0.1, VGG). Raises UserError when it is not installed."""
    package = importlib.util.find_spec("lpips")
    if package is None:
        raise UserError("the LPIPS head is missing: pip install lpips, or train with --loss temporal_l1")
    path = Path(package.origin).parent / "weights" / "v0.1" / "vgg.pth"
    state = torch.load(path, map_location="cpu", weights_only=True)
    return [state[f"lin{i}.model.1.weight"].flatten() for i in range(len(TAPS))]


def _download(path):
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_SECONDS)  # torch.hub passes no timeout of its own
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(TRUNK_URL, str(path), hash_prefix="397923af", progress=True)
    # URLError is an OSError, an interrupted transfer an HTTPException, a wrong hash a RuntimeError
    except (OSError, HTTPException, RuntimeError) as error:
        hint = f"place {TRUNK_URL} at {path}, or train with --loss temporal_l1"
        raise UserError(f"cannot download the VGG16 of LPIPS ({error}): {hint}") from error
    finally:
        socket.setdefaulttimeout(timeout)
