"""Depth models: iw3's names, the transformers models they refer to, and how frames become nearness.

N frames of a batch, T frames of a clip, H height, W width of the frames; h, w of the depth. Raw nearness is larger for
nearer points: disparity from relative models, negated metres from metric ones.
"""

import contextlib
import importlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch
import torch.nn.functional as F

from pack.depth.motion import MotionDepth
from tools.cli import UserError, is_shortage

OFFLINE = "Motion"
OUTLIERS = 0.005  # of the pixels of a frame, at each end of a robust range
MODEL_IDS = {  # iw3's --model-type -> Hugging Face repository; licences as the repositories state them
    "Any_S": "LiheYoung/depth-anything-small-hf",  # Apache-2.0
    "Any_B": "LiheYoung/depth-anything-base-hf",
    "Any_L": "LiheYoung/depth-anything-large-hf",  # Apache-2.0
    "Any_V2_S": "depth-anything/Depth-Anything-V2-Small-hf",  # Apache-2.0
    "Any_V2_B": "depth-anything/Depth-Anything-V2-Base-hf",  # CC-BY-NC-4.0: not for commercial use
    "Any_V2_L": "depth-anything/Depth-Anything-V2-Large-hf",  # CC-BY-NC-4.0: not for commercial use
    "Any_V2_N_S": "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf",  # Apache-2.0
    "Any_V2_N_B": "depth-anything/Depth-Anything-V2-Metric-Indoor-Base-hf",
    "Any_V2_N_L": "depth-anything/Depth-Anything-V2-Metric-Indoor-Large-hf",
    "Any_V2_N": "depth-anything/Depth-Anything-V2-Metric-Indoor-Large-hf",
    "Any_V2_K_S": "depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf",  # Apache-2.0
    "Any_V2_K_B": "depth-anything/Depth-Anything-V2-Metric-Outdoor-Base-hf",
    "Any_V2_K_L": "depth-anything/Depth-Anything-V2-Metric-Outdoor-Large-hf",
    "Any_V2_K": "depth-anything/Depth-Anything-V2-Metric-Outdoor-Large-hf",
    "Distill_Any_S": "xingyang1/Distill-Any-Depth-Small-hf",  # MIT
    "Distill_Any_B": "lc700x/Distill-Any-Depth-Base-hf",  # a third party's port
    "Distill_Any_L": "xingyang1/Distill-Any-Depth-Large-hf",  # MIT
    "ZoeD_N": "Intel/zoedepth-nyu",  # MIT
    "ZoeD_K": "Intel/zoedepth-kitti",  # MIT
    "ZoeD_NK": "Intel/zoedepth-nyu-kitti",  # MIT
    "DepthPro": "apple/DepthPro-hf",  # apple-amlr: research only
}
SUBSTITUTES = {  # patterns of iw3's names that transformers has no model for -> the name that comes nearest
    r"ZoeD_Any_N": "Any_V2_N",
    r"ZoeD_Any_K": "Any_V2_K",
    r"Any_V3_Mono(_01)?": "Any_V2_L",
    r"VDA_(Stream_)?S": "Any_V2_S",
    r"VDA_(Stream_)?B": "Any_V2_B",
    r"VDA_(Stream_)?L": "Any_V2_L",
    r"VDA_(Stream_)?Metric.*": "Any_V2_K",
    r"DepthPro_S": "DepthPro",  # its 1024 pixels are too few for the smallest of the three scales in transformers
}
FILES = ["config.json", "*.safetensors"]
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
    network = load_network(folder)
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


def find_model(model_type: str) -> Path:
    """The folder with a model's config.json and weights; a named model is downloaded unless it is cached."""
    if model_type in MODEL_IDS:
        return fetch(model_type, MODEL_IDS[model_type])
    folder = Path(model_type)
    if folder.is_dir():
        if missing := missing_files(folder):
            raise UserError(f"{folder} holds no depth model: {missing} missing, expected {' and '.join(FILES)}")
        return folder
    for pattern, nearest in SUBSTITUTES.items():
        if re.fullmatch(pattern, model_type):
            raise UserError(f"--model-type {model_type} is not available in transformers: pass {nearest} instead")
    raise UserError(f"--model-type {model_type} is neither a folder nor one of {OFFLINE}, {', '.join(MODEL_IDS)}")


def fetch(model_type: str, repository: str) -> Path:
    """The repository's folder in the Hugging Face cache."""
    import_extra(model_type, "transformers")
    import huggingface_hub as hub  # comes with transformers, an extra that need not be installed

    try:
        folder = Path(hub.snapshot_download(repository, allow_patterns=FILES, local_files_only=True))
        if not missing_files(folder):
            return folder
    except OSError:
        pass  # not in the cache
    try:
        # snapshot_download alone would wait for ever where the network drops packets instead of refusing them
        hub.model_info(repository, timeout=10)
        return Path(hub.snapshot_download(repository, allow_patterns=FILES))
    except (OSError, hub.errors.HTTPError) as error:
        raise UserError(
            f"--model-type {model_type} needs {' and '.join(FILES)} of {repository}, which cannot be downloaded "
            f"({first_line(error)}): put them into a folder and pass that, or use --model-type {OFFLINE}"
        ) from None


def missing_files(folder: Path) -> str:
    return ", ".join(pattern for pattern in FILES if not any(folder.glob(pattern)))


def load_network(folder: Path) -> Any:  # transformers, an extra, has the types
    """The model in a folder, in eval mode. Raises UserError where it cannot be read or is of an unknown kind."""
    transformers = import_extra(str(folder), "transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with reading(f"{folder}/config.json"):
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.model_type not in FAMILIES:
        raise UserError(f"{folder} holds a {config.model_type}: expected one of {', '.join(FAMILIES)}")
    config.use_fov_model = False  # DepthPro's estimate of the focal length: a factor for each frame, which flickers
    with reading(f"the weights in {folder}"):
        network, report = transformers.AutoModelForDepthEstimation.from_pretrained(
            folder, config=config, local_files_only=True, output_loading_info=True
        )
    if report["missing_keys"]:
        raise UserError(f"the weights in {folder} lack {min(report['missing_keys'])}: copy the file again")
    return network.eval()


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn any exception of the block, which reads a file of a stranger, into a UserError."""
    try:
        yield
    except Exception as error:  # transformers and safetensors raise many kinds for a file that is damaged
        if is_shortage(error):
            raise
        reason = first_line(error) or type(error).__name__
        raise UserError(f"{what} cannot be read ({reason}): copy or download the model again") from error


def import_extra(model_type: str, package: str) -> ModuleType:
    """The package, which only transformers' models need and which takes seconds to import."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError:
        raise UserError(
            f"--model-type {model_type} needs {package}: run `make setup EXTRAS=depth`, or use --model-type {OFFLINE}"
        ) from None


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
