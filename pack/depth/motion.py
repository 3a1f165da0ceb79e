"""Nearness from motion and single-frame cues: needs no download, but is far less accurate than a depth model.

What moves relative to the camera's own motion counts as near, whether the reason is parallax or a motion of its own.
Without such motion, regions that strong edges separate from the top and sides of the frame are near, and so are low and
sharp regions. Depth steps are moved onto the edges of the frame and averaged along the motion, so that holes follow
outlines and do not flicker. It has typical errors: cars that pass behind a fence are estimated in front of it, lit
windows in front of their wall. For real training choose a depth model.

T frames, H height, W width of the frames; h, w of the depth.
"""

import torch
import torch.nn.functional as F

from pack.depth.edge_aware import Edges, cheapest_path_costs, diffuse, edges
from pack.depth.flow import camera_flow, in_frame, local_contrast, refine, resize_flow, track, warp
from pack.kernels.filters import box_filter, max_filter

SHORT_SIDE = 256
BASELINE = 4  # frames between which parallax is measured: more show more parallax, but also more occlusion


class MotionDepth:
    """Raw nearness (T 1 h w) in [0, 1] of a clip (T 3 H W) in [0, 1], with min(h, w) <= short_side."""

    name = "Motion"
    metric = False

    def __init__(self, short_side: int = SHORT_SIDE, device: torch.device | str = "cpu"):
        self.short_side, self.device = short_side, torch.device(device)

    @torch.inference_mode()
    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        frames = self.shrink(frames)
        edge = outlines(frames)
        nearness = frame_cue(frames, edge)
        if len(frames) > 1:
            motion, weight, forward_flow, backward_flow = motion_cue(frames, edge)
            nearness = smooth_along_motion(torch.lerp(nearness, motion, weight), frames, forward_flow, backward_flow)
        return (sharpen(nearness, edge) * 4096).round() / 4096  # the last bits depend on the number of threads

    def shrink(self, frames: torch.Tensor) -> torch.Tensor:  # (T 3 H W) -> (T 3 h w)
        """The frames at the size of the depth, from which everything is computed; unchanged if they have that size."""
        return _shrink(frames.to(self.device, torch.float32), self.short_side)


def outlines(frames: torch.Tensor) -> Edges:  # (T 3 h w) -> (T 1 h w-1), (T 1 h-1 w)
    """The frames' edges after fine texture is smoothed away."""
    return edges(diffuse(frames, edges(frames), reach=12, contrast=0.25, rounds=1))


def frame_cue(frames: torch.Tensor, edge: Edges) -> torch.Tensor:  # (T 3 h w) -> (T 1 h w) in [0, 1]
    """Nearness from single frames: edges between a pixel and the frame's top and sides, height and sharpness."""
    height, width = frames.shape[-2:]
    ground = torch.linspace(0, 0.35, height, device=frames.device)  # lower is nearer
    start = frames.new_full((len(frames), 1, height, width), 9.0)
    start[..., 0] = start[..., -1] = ground
    start[..., 0, :] = 0
    across, down = ((step - 0.03).clamp(min=0) * 2.5 for step in edge)  # 0.03: soft shading and compression noise
    cost = _without_small_objects(cheapest_path_costs(start, (across + 0.0003, down + 0.35 / height)))
    grey = frames.mean(1, keepdim=True)
    fine = diffuse(box_filter((grey - box_filter(grey, 1)).abs(), 3), edge, reach=40, contrast=0.08)
    return _rescale(cost / (cost + 0.6) + 0.2 * fine / (fine + _quantile(fine, 0.5) + 1e-3), 0, 1)


def motion_cue(
    frames: torch.Tensor, edge: Edges
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # (T 3 h w)
    """Nearness from motion (T 1 h w) in [0, 1], its weight (), and the forward and backward flows (T-1 2 h w).

    Where a camera only rotates over a still scene, nothing but errors of the flow remains, and the weight approaches 0.
    """
    size = (frames.shape[-2], frames.shape[-1])
    grey = _shrink(frames.mean(1, keepdim=True), SHORT_SIDE // 2)
    far = torch.linspace(1, 0.3, grey.shape[-2], device=frames.device)[:, None].expand(grey.shape[-2:])
    forward_flow, camera = track(grey, far)
    planes = local_contrast(grey)
    backward_flow, _ = refine(planes[1:], planes[:-1], warp(-forward_flow, -forward_flow), -camera, rounds=2)
    speed = F.interpolate(_own_speed(planes, forward_flow, backward_flow, far), size, mode="bilinear")
    speed, certainty = diffuse(speed, edge, reach=40, contrast=0.08).split(1, 1)
    speed = speed / (certainty + 0.03)  # near 0 where the flow is uncertain
    fast = _quantile(speed, 0.95).clamp(min=1e-3)
    weight = 0.6 * fast / (fast + 0.5)  # errors of the flow are about 0.5 pixels
    nearness = (speed / fast / 1.5).clamp(max=1) ** 0.7
    return nearness, weight, resize_flow(forward_flow, size), resize_flow(backward_flow, size)


def _own_speed(planes, forward_flow, backward_flow, far):  # (T 1 h w), (T-1 2 h w) x 2, (h w) -> (T 2 h w)
    """Two channels: motion relative to the camera's over BASELINE frames, times its certainty; and the certainty.

    Summed over the flow to a later frame and the flow to an earlier one: what is occluded in one is seen in the other.
    """
    speed = planes.new_zeros(len(planes), 2, *planes.shape[-2:])
    gap = min(BASELINE, len(planes) - 1)
    now, later = planes[:-gap], planes[gap:]
    for a, b, flow, sums in (
        (now, later, forward_flow[: len(now)], speed[:-gap]),
        (later, now, backward_flow[gap - 1 :], speed[gap:]),
    ):
        camera = camera_flow(flow * gap, far.expand_as(a))
        flow, texture = refine(a, b, flow * gap, camera, rounds=2)
        residual = box_filter((a - warp(b, flow)).abs(), 1)
        certainty = texture * torch.exp(-(residual / 0.5).square()) * in_frame(camera)
        own = torch.hypot(*(flow - camera_flow(flow, certainty * far)).split(1, 1))
        sums += torch.cat((own * certainty, certainty), 1)
    return speed


def smooth_along_motion(
    depth: torch.Tensor,
    frames: torch.Tensor,
    forward_flow: torch.Tensor,
    backward_flow: torch.Tensor,
    keep: float = 0.8,
) -> torch.Tensor:  # (T 1 h w), (T 3 h w), (T-1 2 h w) x 2 -> (T 1 h w)
    """The depth averaged along the motion, over about 1 / (1 - keep) frames in each direction.

    Frames count less where their colours differ along the flow.
    """
    trust_next = keep * _similarity(frames[:-1], frames[1:], forward_flow)
    trust_last = keep * _similarity(frames[1:], frames[:-1], backward_flow)
    depth = depth.split(1)
    forwards, backwards = [depth[0]], [depth[-1]]
    for t in range(1, len(depth)):
        forwards.append(torch.lerp(depth[t], warp(forwards[-1], backward_flow[t - 1, None]), trust_last[t - 1, None]))
    for t in range(len(depth) - 2, -1, -1):
        backwards.append(torch.lerp(depth[t], warp(backwards[-1], forward_flow[t, None]), trust_next[t, None]))
    return (torch.cat(forwards) + torch.cat(backwards[::-1])) / 2


def sharpen(depth: torch.Tensor, edge: Edges) -> torch.Tensor:  # (T 1 h w) -> same, in [0, 1]
    """The depth with its slopes turned into steps at the edges of the frame.

    A change of view uncovers something only where disparity falls by more than one pixel per pixel, so a slope gives no
    hole.
    """
    slope_x, slope_y = edges(depth)
    slope = torch.maximum(F.pad(slope_x, (0, 1)), F.pad(slope_y, (0, 0, 0, 1)))
    level = 1 / (1 + (box_filter(slope, 2) / 0.01).square()) + 0.02  # pixels on a slope take their neighbours' depth
    depth, level = diffuse(torch.cat((depth * level, level), 1), edge, reach=16, contrast=0.04).split(1, 1)
    depth = _rescale(depth / level, 0.02, 0.98)
    for _ in range(2):
        low, high = -max_filter(-depth, (3, 3)), max_filter(depth, (3, 3))
        step = low + ((depth - low) * 3 - (high - low)).clamp(min=0).minimum(high - low)  # three times as steep
        depth = torch.lerp(depth, step, ((high - low - 0.03) / 0.06).clamp(0, 1))
    return depth


def _similarity(first, second, flow):  # (N 3 h w) x 2, (N 2 h w) -> (N 1 h w) in [0, 1]
    return torch.exp(-(box_filter((first - warp(second, flow)).abs().mean(1, keepdim=True), 1) / 0.06).square())


def _without_small_objects(nearness):
    """The map without near regions under 5 pixels wide (a morphological opening)."""
    return max_filter(-max_filter(-nearness, (2, 2)), (2, 2))


def _quantile(x, quantile):
    """The quantile of x, from a sample of about 100,000 elements."""
    some = x.flatten()[:: x.numel() // 100_000 + 1]
    return some.kthvalue(1 + round(quantile * (len(some) - 1))).values


def _rescale(x, low, high):
    low, high = _quantile(x, low), _quantile(x, high)
    return ((x - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)


def _shrink(frames, short_side):  # (T C H W) -> (T C h w)
    scale = min(1, short_side / min(frames.shape[-2:]))
    size = [max(1, round(length * scale)) for length in frames.shape[-2:]]
    if size == list(frames.shape[-2:]):
        return frames.contiguous()
    return F.interpolate(frames, size, mode="bilinear", antialias=True).contiguous()
