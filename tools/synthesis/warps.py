"""The other eye by each of iw3's warps, and its holes as iw3 gives them to a network.

B frames, H height, W width of the frames; h, w of the depth map. Depth is already mapped to disparity. `strength` is
what iw3's warps are given: the divergence in percent of the longer side, twice that if only one eye is made.
"""

import torch
import torch.nn.functional as F

from model.mask_mlbw import MaskMLBW, holes_of, input_planes
from model.mask_mlbw import warp as learned_warp
from model.morphology import dilate_inner, dilate_outer, mask_closing
from pack.holes.forward import forward_warp
from pack.holes.kinds import FORWARD, MLBW, MONOBW
from pack.holes.monobw import backward_warp
from pack.pipeline import fit


def right_eye(
    kind: str,
    frame: torch.Tensor,
    depth: torch.Tensor,
    strength: float,
    convergence: float,
    network: MaskMLBW | None = None,
    is_part: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:  # (B 3 H W), (B 1 h w) -> float (B 3 H W), bool (B 1 H W)
    """The right eye of the frame and its holes, as the warp of this kind makes them.

    `is_part`: the frame is a part of a film's, so that its sides are no borders. The learned warp needs its `network`.
    """
    size = (frame.shape[-2], frame.shape[-1])
    if kind == FORWARD:
        eye, holes = forward_warp(frame, fit(depth, size), strength, convergence, "right", base_width=max(size))
        return eye, holes > 0
    frame, depth = frame.flip(-1), depth.flip(-1)  # the other warps make left eyes
    if kind == MONOBW:
        eye, holes = backward_warp(frame, depth, strength, convergence, clear=0 if is_part else 2)
    else:
        assert kind == MLBW and network is not None
        eye, holes = learned_left_eye(network, frame, depth, strength, convergence)
    return eye.flip(-1), holes.flip(-1)


def learned_left_eye(
    network: MaskMLBW, frame: torch.Tensor, depth: torch.Tensor, strength: float, convergence: float
) -> tuple[torch.Tensor, torch.Tensor]:  # (B 3 H W), (B 1 h w) -> float (B 3 H W), bool (B 1 H W)
    """The left eye and its holes by iw3's `mlbw_l2`; displacements are in columns of the depth map."""
    size = (frame.shape[-2], frame.shape[-1])
    displacements, weights, logits = network(input_planes(depth, strength, convergence))
    scale = (size[1] // 2 - 1) / (depth.shape[-1] // 2 - 1)  # what `warp` divides by, of the frame and of the map
    displacements, weights = (
        F.interpolate(plane, size, mode="bilinear", align_corners=True) for plane in (displacements * scale, weights)
    )
    return learned_warp(frame, displacements, weights), holes_of(logits, size)


def grown(
    kind: str, holes: torch.Tensor, inner: int, outer: int, depth_width: int
) -> torch.Tensor:  # bool (B 1 H W) -> same
    """The holes of a right eye as a network is given them: closed, then grown to the right and to the left.

    Those of the learned warp have been closed before they got the size of the frame, and are not closed again.
    `inner` and `outer` are pixels of a depth map of this width.
    """
    closed = holes if kind == MLBW else mask_closing(holes.float()) > 0
    return dilate_inner(dilate_outer(closed, outer, depth_width), inner, depth_width)
