"""Depth models: how frames become nearness.

N frames of a batch, T frames of a clip, H height, W width of the frames; h, w of the depth. Raw nearness is larger for
nearer points: disparity from relative models, negated metres from metric ones.
"""

import math
import re
from typing import Any, Protocol

import torch
import torch.nn.functional as F

from pack.depth.model_files import MODEL_IDS, OFFLINE, find_model, load_network
from pack.depth.motion import MotionDepth
from tools.cli import UserError

OUTLIERS = 0.005  # of the pixels of a frame, at each end of a robust range
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation of each channel
SYMMETRIC = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # maps [0, 1] to [-1, 1]


class DepthEstimator(Protocol):
    """What packing and conversion need of a depth model."""

    @property
    def metric(self) -> bool:
        """Whether raw nearness is in negated metres."""

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:  # (T 3 H W) in [0, 1] -> (T 1 h w)
        """Raw nearness."""


def load_depth(
    model_type: str, resolution: int | None = None, device: torch.device | str = "cpu", batch_size: int = 2
) -> "MotionDepth | DepthModel":
    """The depth model of this name, or the transformers model in this folder.

    It has a `name`, a flag `metric`, and maps frames (T 3 H W) in [0, 1] to raw nearness (T 1 h w). Raises UserError
    for an unknown name and for a folder that does not hold a depth model.
    """
    if model_type == OFFLINE:
        return MotionDepth(device=device) if resolution is None else MotionDepth(resolution, device)
    folder = find_model(model_type)
    network = load_network(folder, FAMILIES)
    family = network.config.model_type
    if family == "depth_pro" and resolution is not None:
        raise UserError(f"--resolution {resolution}: the size of {model_type} is fixed, leave --resolution out")
    name = model_type if model_type in MODEL_IDS else re.sub(r"[^\w-]", "_", folder.resolve().name)
    return DepthModel(name, FAMILIES[family](network, resolution), device, batch_size)


def normalise(depth: torch.Tensor, by: str = "minmax") -> torch.Tensor:  # (T 1 h w) -> same, in [0, 1]
    """Raw nearness scaled over the whole clip, 0 farthest to 1 nearest; where it is constant, only clamped.

    `by` is minmax, robust (see `robust_range`), or given: values are in [0, 1] already.
    """
    low, high = (depth.min(), depth.max()) if by != "robust" else robust_range(depth)
    if not torch.isfinite(high - low):
        raise UserError("the depth model returned values that are not finite: try --device cpu or another --model-type")
    if high > low and by != "given":
        depth = (depth - low) / (high - low)
    return depth.clamp(0, 1)


def robust_range(depth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # (T 1 h w) -> (), ()
    """The median over the frames of the percentiles that leave OUTLIERS of a frame out at each end.

    Unlike the extremes, it does not follow single pixels, such as snow, sand and water that shimmer.
    """
    frames = depth.flatten(1)
    count = frames.shape[1]
    rank = 1 + int(OUTLIERS * (count - 1))
    lows, highs = frames.kthvalue(rank, 1).values, frames.kthvalue(count + 1 - rank, 1).values
    return lows.median(), highs.median()


class DepthModel:
    """A network of transformers that estimates depth, `batch_size` frames at a time."""

    def __init__(
        self, name: str, family: "DepthAnything | ZoeDepth | DepthPro", device: torch.device | str, batch_size: int
    ):
        self.name, self.metric = name, family.metric
        self.family, self.device, self.batch_size = family, torch.device(device), batch_size
        family.network.to(self.device)

    @torch.inference_mode()
    def __call__(self, frames: torch.Tensor) -> torch.Tensor:  # (T 3 H W) in [0, 1] -> (T 1 h w)
        """Raw nearness, at the network's resolution."""
        with torch.autocast("cuda", torch.float16, enabled=self.device.type == "cuda"):
            return torch.cat([self.estimate(part) for part in frames.split(self.batch_size)])

    def estimate(self, frames):
        frames = frames.to(self.device, torch.float32)
        depth = self.family.network(pixel_values=self.family.prepare(frames)).predicted_depth[:, None].float()
        depth = self.family.finish(depth, frames.shape[-2:])
        return -depth if self.metric else depth


class DepthAnything:
    """Depth Anything and models distilled from it: the input has a fixed short side, the depth has the input's size."""

    def __init__(self, network: Any, resolution: int | None):
        self.network, self.metric = network, network.config.depth_estimation_type == "metric"
        self.short_side, self.multiple = resolution or 392, network.config.patch_size

    def size(self, height: int, width: int) -> tuple[int, int]:
        short = math.ceil(self.short_side / self.multiple) * self.multiple
        scale = short / min(height, width)
        sides = (min(int(side * scale), 4 * short) for side in (height, width))
        return tuple(max(short, side // self.multiple * self.multiple) for side in sides)

    def prepare(self, frames):  # (N 3 H W) -> (N 3 h w)
        return standardise(resize(frames, self.size(*frames.shape[-2:])), *IMAGENET)

    def finish(self, depth, size):
        return depth


class ZoeDepth:
    """ZoeDepth, in metres. The frame gets a reflected margin before it is resized: depth is wrong near borders."""

    metric = True

    def __init__(self, network: Any, resolution: int | None):
        self.network, self.resolution = network, resolution

    def size(self, height: int, width: int) -> tuple[int, int]:
        target = math.ceil(self.resolution / 32) * 32 if self.resolution else 384 if width > height else 512
        new_height = max(32, min(target, height // 32 * 32))
        return new_height, max(32, int(width * new_height / height) // 32 * 32)

    def prepare(self, frames):  # (N 3 H W) -> (N 3 h w)
        y, x = map(zoe_margin, frames.shape[-2:])
        frames = F.pad(frames, (x, x, y, y), mode="reflect")
        return standardise(resize(frames, self.size(*frames.shape[-2:])), *SYMMETRIC)

    def finish(self, depth, size):
        y, x = (
            round(zoe_margin(side) / (side + 2 * zoe_margin(side)) * canvas)
            for side, canvas in zip(size, depth.shape[-2:], strict=True)
        )
        return depth[..., y : depth.shape[-2] - y, x : depth.shape[-1] - x]


class DepthPro:
    """DepthPro: inverse depth. The frame is resized to the square that the network takes, whatever its aspect ratio."""

    metric = False

    def __init__(self, network: Any, resolution: None):
        self.network = network
        self.side = round(network.config.patch_size / min(network.config.scaled_images_ratios))

    def prepare(self, frames):  # (N 3 H W) -> (N 3 h w)
        return standardise(resize(frames, (self.side, self.side)), *SYMMETRIC)

    def finish(self, depth, size):
        return resize(depth, tuple(map(min, size, depth.shape[-2:])))


FAMILIES = {"depth_anything": DepthAnything, "zoedepth": ZoeDepth, "depth_pro": DepthPro}  # by config.json's model_type


def zoe_margin(side: int) -> int:
    """Pixels of the margin at each end of a side."""
    return int(3 * math.sqrt(side / 2))


def resize(x, size):  # (N C H W) -> (N C h w)
    return F.interpolate(x, size, mode="bilinear", antialias=True)


def standardise(frames, mean, deviation):  # (N 3 h w) in [0, 1] -> same shape
    return (frames - frames.new_tensor(mean).view(3, 1, 1)) / frames.new_tensor(deviation).view(3, 1, 1)
