"""Depth of HDR films: models see the film as it looks in SDR, the pictures that are converted keep their codes.

T frames, H height, W width.
"""

import torch

from pack.depth.models import DepthEstimator
from pack.video.frame_data.hdr import NODES, Hdr, sdr_of_nodes


class SeesSdr:
    """A depth model that is given frames of an HDR film tone mapped."""

    def __init__(self, model: DepthEstimator, hdr: Hdr):
        self.model = model
        nodes = torch.from_numpy(sdr_of_nodes(hdr.transfer, hdr.primaries)).float()
        self.lut = nodes.view(1, NODES, NODES, NODES, 3).permute(0, 4, 1, 2, 3)  # (1 3 blue green red)

    @property
    def metric(self) -> bool:
        """That of the model."""
        return self.model.metric

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:  # (T 3 H W) in [0, 1] -> (T 1 h w)
        return self.model(torch.cat([self._mapped(frame) for frame in frames]))

    def _mapped(self, frame: torch.Tensor) -> torch.Tensor:  # (3 H W) -> (1 3 H W)
        places = (2 * frame.movedim(0, -1) - 1)[None, None]  # (1 1 H W 3)
        return torch.nn.functional.grid_sample(self.lut.to(frame), places, align_corners=True)[:, :, 0]
