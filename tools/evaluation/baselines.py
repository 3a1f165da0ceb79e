"""Baselines: simple fills, which a network has to outperform.

T frames, H height, W width. A fill takes frames float (T 3 H W) in [0, 1] whose holes are 0, and holes bool
(T 1 H W), and returns frames that differ only in the holes. A hole lies to the right of the object that hides it, as in
a right view and in every record, so the background begins at the right end of the hole.
"""

from collections.abc import Callable

import numpy as np
import torch

from pack.depth.flow import flow_targets, sample_at
from tools.evaluation.motion import HAS_CV2, optical_flow, trusted
from train.evaluation.fills import hole_ends, nearest_frame, replicate, take

Fill = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
RADIUS = 3  # of the neighbourhood in OpenCV's methods, pixels


def empty(frames, holes):
    """Black holes."""
    return frames.masked_fill(holes, 0)


def mirror(frames, holes):
    """In each row, the background to the right of the hole mirrored into it."""
    right, _ = hole_ends(holes)
    x = torch.arange(frames.shape[-1], device=frames.device)
    return take(replicate(frames, holes), holes, 2 * right - 1 - x)


def stretch(frames, holes):
    """In each row, the background next to the hole, half as wide as the hole, stretched to the width of the hole."""
    right, left = hole_ends(holes)
    x = torch.arange(frames.shape[-1], device=frames.device)
    return take(replicate(frames, holes), holes, right + (x - left - 1) // 2)


def temporal_median(frames, holes):
    """The median over all frames in which the pixel is visible; where it never is, replicate."""
    median = frames.masked_fill(holes, torch.nan).nanmedian(0, keepdim=True).values
    return torch.where(holes & ~median.isnan(), median, replicate(frames, holes))


def telea(frames, holes):
    """OpenCV's fast marching (Telea, "An Image Inpainting Technique Based on the Fast Marching Method", 2004)."""
    import cv2  # an extra

    return _opencv(frames, holes, cv2.INPAINT_TELEA)


def navier_stokes(frames, holes):
    """OpenCV's fluid dynamics (Bertalmio et al., "Navier-Stokes, Fluid Dynamics, and Image Inpainting", CVPR 2001)."""
    import cv2  # an extra

    return _opencv(frames, holes, cv2.INPAINT_NS)


def flow_propagation(frames, holes):
    """Pixels carried along optical flow from other frames, over several where needed; telea fills the rest.

    The flow is estimated between replicated frames; inside holes it is the replicated flow of the background. A step to
    the next frame is taken where forward and backward flow agree. The direction with fewer steps is used, the mean of
    both where they are equal.
    """
    plain = replicate(frames, holes)
    forward = replicate(optical_flow(plain[:-1], plain[1:]), holes[:-1])
    backward = replicate(optical_flow(plain[1:], plain[:-1]), holes[1:])
    later = _carry(frames, holes, forward, trusted(forward, backward))
    earlier = _carry(*(x.flip(0) for x in (frames, holes, backward, trusted(backward, forward))))
    (after, after_steps), (before, before_steps) = later, (x.flip(0) for x in earlier)
    weight = (after_steps < before_steps) + 0.5 * (after_steps == before_steps)
    # where only one direction has a value, the steps of the other are infinite, so no undefined value enters the mean
    mixed = torch.where(weight == 1, after, torch.where(weight == 0, before, (after + before) / 2))
    left = holes & torch.minimum(after_steps, before_steps).isinf()
    last = telea if HAS_CV2 else replicate
    return last(torch.where(holes, mixed, frames).masked_fill(left, 0), left)


BASELINES: dict[str, Fill] = {
    "empty": empty,
    "replicate": replicate,
    "mirror": mirror,
    "stretch": stretch,
    "nearest-frame": nearest_frame,
    "temporal-median": temporal_median,
    "telea": telea,
    "navier-stokes": navier_stokes,
    "flow": flow_propagation,
}
ONE_FRAME = ("empty", "replicate", "mirror", "stretch", "telea", "navier-stokes")  # use each frame by itself
OPENCV = ("telea", "navier-stokes")  # need OpenCV


def _opencv(frames, holes, method):
    import cv2  # an extra

    pictures = (frames.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    masks = holes[:, 0].byte().cpu().numpy()
    filled = [cv2.inpaint(np.ascontiguousarray(p), m, RADIUS, method) for p, m in zip(pictures, masks, strict=True)]
    filled = torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2).to(frames) / 255
    return torch.where(holes, filled, frames)


def _carry(frames, holes, flow, trust):  # (T 3 H W), bool (T 1 H W), (T-1 2 H W), bool (T-1 1 H W)
    """The frames with holes filled from later frames, and how many steps away (T 1 H W): inf where nothing arrived."""
    filled, steps = frames.clone(), torch.where(holes, torch.inf, 0.0).to(frames)
    targets = flow_targets(flow)
    for t in range(len(frames) - 2, -1, -1):
        wanted = (holes[t] & trust[t])[0]
        empty = steps[t + 1].isinf().to(frames)
        planes = torch.cat((filled[t + 1], steps[t + 1].nan_to_num(posinf=0), empty))
        values = _sampled(planes, targets[t], wanted)
        usable = wanted & (values[4] < 1e-3)  # a pixel interpolated with an unfilled one has no value
        filled[t] = torch.where(usable, values[:3], filled[t])
        steps[t] = torch.where(usable, values[3:4] + 1, steps[t])
    return filled, steps


def _sampled(planes, targets, wanted):  # (C H W), (H W 2), bool (H W) -> (C H W), of the wanted pixels
    if planes.device.type != "cpu":  # a GPU would wait for their number
        return sample_at(planes, targets.flatten(0, 1)).unflatten(1, wanted.shape)
    values = planes.new_zeros(planes.shape)
    values[:, wanted] = sample_at(planes, targets[wanted])
    return values
