"""LPIPS as published, over the frame and in holes; it needs the weights of AlexNet on this machine.

T frames, H height, W width.
"""

import importlib.util
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F

from tools.cli import UserError, is_shortage

TRUNK_FILE = "alexnet-owt-7be5be79.pth"
TRUNK_URL = f"https://download.pytorch.org/models/{TRUNK_FILE}"
Features = list[torch.Tensor]  # of a frame, (1 C h w) of each layer


class Lpips:
    """LPIPS v0.1 on AlexNet (Zhang et al., CVPR 2018), from the package `lpips`, as in iw3's benchmark.

    The features of the last truth are kept, because all methods are compared with the same one.
    """

    def __init__(self, network: torch.nn.Module):
        self.network = network.eval().requires_grad_(False)
        self._last: tuple[torch.Tensor, list[Features]] | None = None  # a truth and the features of its frames

    @torch.inference_mode()
    def __call__(
        self, output: torch.Tensor, truth: torch.Tensor, holes: torch.Tensor
    ) -> dict[str, float]:  # (T 3 H W) x 2, bool (T 1 H W)
        """The mean of the distance map over frames with a hole, and its mean weighted by the holes; nan without any.

        As in iw3, frames are cropped to a multiple of 16 and holes resized to the distance map.
        """
        if self._last is None or self._last[0] is not truth:
            self._last = truth, [self._features(frame) for frame in truth]
        kept = holes.flatten(1).any(1)
        sums = output.new_zeros(3)  # of mean distance, of distance in holes, of holes
        for frame, features, where, is_kept in zip(output, self._last[1], holes, kept, strict=True):
            if is_kept:
                sums += self._sums(frame, features, where)
        return {"lpips": float(sums[0] / kept.sum()), "hole_lpips": float(sums[1] / sums[2])}

    def _sums(self, output, truth, holes):  # (3 H W), Features, bool (1 H W) -> (3)
        layers = zip(self.network.lins, self._features(output), truth, strict=True)
        size = crop(output[None]).shape[-2:]
        planes = [lin((a - b) ** 2) for lin, a, b in layers]  # (1 1 h w) each
        distance = sum(F.interpolate(plane, size, mode="bilinear", align_corners=False) for plane in planes)
        share = F.interpolate(holes[None].to(output.dtype), size, mode="bilinear")
        return torch.stack((distance.mean(), (distance * share).sum(), share.sum()))

    def _features(self, frame):  # (3 H W) -> Features
        """What the package compares: the activations of each layer of the trunk, normalised over channels."""
        from lpips import normalize_tensor  # imports torchvision, which takes a second

        scaled = self.network.scaling_layer(2 * crop(frame[None]) - 1)
        return [normalize_tensor(layer) for layer in self.network.net(scaled)]


def crop(frames):  # (N C H W) -> the middle, whose sides are multiples of 16
    height, width = frames.shape[-2:]
    top, left = height % 16 // 2, width % 16 // 2
    return frames[..., top : top + height // 16 * 16, left : left + width // 16 * 16]


def load_lpips(weights_dir: str | Path | None = None, device: torch.device | str = "cpu") -> Lpips:
    """LPIPS with the AlexNet weights in `weights_dir` or torch's hub cache; nothing is downloaded.

    Raises UserError, which says which file to put where, when something is missing.
    """
    path = Path(weights_dir or Path(torch.hub.get_dir()) / "checkpoints") / TRUNK_FILE
    if importlib.util.find_spec("lpips") is None:
        raise UserError("the package lpips is missing: make setup")
    if not path.exists():
        raise UserError(
            f"the weights of its AlexNet are missing: download {TRUNK_URL} to {path}, or pass --weights-dir"
        )
    network = create_lpips()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        load_trunk(network, {k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")})
    except Exception as error:  # torch.load raises many kinds for a file that is something else
        if is_shortage(error):
            raise
        raise UserError(f"{path} does not hold the weights of AlexNet: download {TRUNK_URL} again") from error
    return Lpips(network.to(device))


def create_lpips() -> torch.nn.Module:
    """The package's network with its own heads and an AlexNet with random weights."""
    import lpips  # imports torchvision, which takes a second

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's about deprecated arguments that the package passes
        return lpips.LPIPS(net="alex", spatial=True, pnet_rand=True, verbose=False)


def load_trunk(network: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Copy weights named as in torchvision's `alexnet().features` ("0.weight") into the package's slices."""
    for name, parameter in network.get_submodule("net").named_parameters():  # "slice2.3.weight" is "3.weight"
        with torch.no_grad():
            parameter.copy_(weights[name.split(".", 1)[1]])
