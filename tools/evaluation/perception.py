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


class Lpips:
    """LPIPS v0.1 on AlexNet (Zhang et al., CVPR 2018), from the package `lpips`, as in iw3's benchmark."""

    def __init__(self, network: torch.nn.Module):
        self.network = network.eval().requires_grad_(False)

    @torch.inference_mode()
    def __call__(
        self, output: torch.Tensor, truth: torch.Tensor, holes: torch.Tensor
    ) -> dict[str, float]:  # (T 3 H W) x 2, bool (T 1 H W)
        """The mean of the distance map over frames with a hole, and its mean weighted by the holes; nan without any.

        As in iw3, frames are cropped to a multiple of 16 and holes resized to the distance map.
        """
        kept = holes.flatten(1).any(1)
        sums = output.new_zeros(3)  # of mean distance, of distance in holes, of holes
        for frame in zip(output[kept], truth[kept], holes[kept], strict=True):
            sums += self._sums(*frame)
        return {"lpips": float(sums[0] / kept.sum()), "hole_lpips": float(sums[1] / sums[2])}

    def _sums(self, output, truth, holes):  # (3 H W) x 2, bool (1 H W) -> (3)
        a, b = (crop(frame[None]) for frame in (output, truth))
        distance = self.network(2 * a - 1, 2 * b - 1)  # (1 1 h w)
        share = F.interpolate(holes[None].to(a.dtype), distance.shape[-2:], mode="bilinear")
        return torch.stack((distance.mean(), (distance * share).sum(), share.sum()))


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
