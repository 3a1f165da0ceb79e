"""Nearness from motion and from the picture itself: for trying everything offline, and no match for a depth model.

What moves against the camera's own motion counts as near, be it by parallax or by itself. Where nothing does, what
strong edges part from the picture's top and sides is near, and so is what is low or sharp. Steps are moved onto the
picture's edges and carried along the motion, so that holes keep to outlines and do not flicker. Cars that pass behind a
fence come out before it, and lit windows before their wall: a network that is to be used deserves a depth model.

T frames, H height, W width of the frames; h, w of the depth.
"""

import torch
import torch.nn.functional as F

from pack.depth.flow import camera_flow, in_frame, local_contrast, refine, resize_flow, track, warp
from pack.depth.sweep import Edges, diffuse, edges, shortest_way
from pack.kernels.filters import box_filter, max_filter

SHORT_SIDE = 256
BASELINE = 4  # frames over which parallax is measured: it grows with them, and so does what comes into view


class MotionDepth:
    """Raw nearness (T 1 h w) in [0, 1] of a clip (T 3 H W) in [0, 1]; h or w, the shorter, is at most short_side."""

    name = "Motion"
    metric = False

    def __init__(self, short_side: int = SHORT_SIDE, device: torch.device | str = "cpu"):
        self.short_side, self.device = short_side, torch.device(device)

    @torch.inference_mode()
    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        frames = self.shrink(frames)
        edge = outlines(frames)
        nearness = picture_cue(frames, edge)
        if len(frames) > 1:
            motion, worth, onward, back = motion_cue(frames, edge)
            nearness = follow(torch.lerp(nearness, motion, worth), frames, onward, back)
        return (sharpen(nearness, edge) * 4096).round() / 4096  # the last bits depend on the number of threads

    def shrink(self, frames: torch.Tensor) -> torch.Tensor:  # (T 3 H W) -> (T 3 h w)
        """The frames at the size of the depth, which all else is computed from; those of that size as they are."""
        return _shrink(frames.to(self.device, torch.float32), self.short_side)


def outlines(frames: torch.Tensor) -> Edges:  # (T 3 h w) -> (T 1 h w-1), (T 1 h-1 w)
    """The frames' edges once fine texture is smoothed away."""
    return edges(diffuse(frames, edges(frames), reach=12, contrast=0.25, rounds=1))


def picture_cue(frames: torch.Tensor, edge: Edges) -> torch.Tensor:  # (T 3 h w) -> (T 1 h w) in [0, 1]
    """Nearness by place: nearer is what edges part from the picture's top and sides, what is low, and what is sharp."""
    height, width = frames.shape[-2:]
    fall = torch.linspace(0, 0.35, height, device=frames.device)
    start = frames.new_full((len(frames), 1, height, width), 9.0)
    start[..., 0] = start[..., -1] = fall
    start[..., 0, :] = 0
    across, down = ((step - 0.03).clamp(min=0) * 2.5 for step in edge)  # 0.03: soft shading and compression noise
    way = _without_specks(shortest_way(start, (across + 0.0003, down + 0.35 / height)))
    grey = frames.mean(1, keepdim=True)
    fine = diffuse(box_filter((grey - box_filter(grey, 1)).abs(), 3), edge, reach=40, contrast=0.08)
    return _stretch(way / (way + 0.6) + 0.2 * fine / (fine + _level(fine, 0.5) + 1e-3), 0, 1)


def motion_cue(frames: torch.Tensor, edge: Edges):  # (T 3 h w)
    """Nearness by motion (T 1 h w) in [0, 1], what it is worth, and the flows to the next frame and back (T-1 2 h w).

    A turning camera over a still scene leaves nothing but the flow's errors, and the worth goes to 0.
    """
    size = frames.shape[-2:]
    grey = _shrink(frames.mean(1, keepdim=True), SHORT_SIDE // 2)
    far = torch.linspace(1, 0.3, grey.shape[-2], device=frames.device)[:, None].expand(grey.shape[-2:])
    onward, camera = track(grey, far)
    planes = local_contrast(grey)
    back, _ = refine(planes[1:], planes[:-1], warp(-onward, -onward), -camera, rounds=2)
    speed = F.interpolate(_own_speed(planes, onward, back, far), size, mode="bilinear")
    speed, certainty = diffuse(speed, edge, reach=40, contrast=0.08).split(1, 1)
    speed = speed / (certainty + 0.03)  # next to 0 where nothing is certain
    fast = _level(speed, 0.95).clamp(min=1e-3)
    worth = 0.6 * fast / (fast + 0.5)  # 0.5 pixels is about what the errors of the flow come to
    return (speed / fast / 1.5).clamp(max=1) ** 0.7, worth, resize_flow(onward, size), resize_flow(back, size)


def _own_speed(planes, onward, back, far):  # (T 1 h w), (T-1 2 h w) x 2, (h w) -> (T 2 h w)
    """How far things move of themselves over BASELINE frames, times how certain that is; and how certain.

    Both to later and from earlier frames, because what one hides the other shows.
    """
    speed = planes.new_zeros(len(planes), 2, *planes.shape[-2:])
    gap = min(BASELINE, len(planes) - 1)
    now, later = planes[:-gap], planes[gap:]
    for a, b, flow, sums in (
        (now, later, onward[: len(now)], speed[:-gap]),
        (later, now, back[gap - 1 :], speed[gap:]),
    ):
        camera = camera_flow(flow * gap, far.expand_as(a))
        flow, texture = refine(a, b, flow * gap, camera, rounds=2)
        miss = box_filter((a - warp(b, flow)).abs(), 1)
        certainty = texture * torch.exp(-(miss / 0.5).square()) * in_frame(camera)
        own = torch.hypot(*(flow - camera_flow(flow, certainty * far)).split(1, 1))
        sums += torch.cat((own * certainty, certainty), 1)
    return speed


def follow(
    depth: torch.Tensor, frames: torch.Tensor, onward: torch.Tensor, back: torch.Tensor, keep: float = 0.8
) -> torch.Tensor:  # (T 1 h w), (T 3 h w), (T-1 2 h w) x 2 -> (T 1 h w)
    """The depth averaged along the motion, over about 1 / (1 - keep) frames each way, where the pictures agree."""
    trust_next = keep * _agreement(frames[:-1], frames[1:], onward)
    trust_last = keep * _agreement(frames[1:], frames[:-1], back)
    depth = depth.split(1)
    forwards, backwards = [depth[0]], [depth[-1]]
    for t in range(1, len(depth)):
        forwards.append(torch.lerp(depth[t], warp(forwards[-1], back[t - 1, None]), trust_last[t - 1, None]))
    for t in range(len(depth) - 2, -1, -1):
        backwards.append(torch.lerp(depth[t], warp(backwards[-1], onward[t, None]), trust_next[t, None]))
    return (torch.cat(forwards) + torch.cat(backwards[::-1])) / 2


def sharpen(depth: torch.Tensor, edge: Edges) -> torch.Tensor:  # (T 1 h w) -> same, in [0, 1]
    """The depth with its slopes turned into steps that stand on the picture's edges.

    A view hides something only where disparity falls by over a pixel in a pixel: behind a slope there is no hole.
    """
    slope_x, slope_y = edges(depth)
    slope = torch.maximum(F.pad(slope_x, (0, 1)), F.pad(slope_y, (0, 0, 0, 1)))
    level = 1 / (1 + (box_filter(slope, 2) / 0.01).square()) + 0.02  # places on a slope take their neighbours' depth
    depth, level = diffuse(torch.cat((depth * level, level), 1), edge, reach=16, contrast=0.04).split(1, 1)
    depth = _stretch(depth / level, 0.02, 0.98)
    for _ in range(2):
        low, high = -max_filter(-depth, (3, 3)), max_filter(depth, (3, 3))
        step = low + ((depth - low) * 3 - (high - low)).clamp(min=0).minimum(high - low)  # three times as steep
        depth = torch.lerp(depth, step, ((high - low - 0.03) / 0.06).clamp(0, 1))
    return depth


def _agreement(first, second, flow):
    return torch.exp(-(box_filter((first - warp(second, flow)).abs().mean(1, keepdim=True), 1) / 0.06).square())


def _without_specks(nearness):
    """Without what is nearer than all around it and under 5 pixels wide (a morphological opening)."""
    return max_filter(-max_filter(-nearness, (2, 2)), (2, 2))


def _level(x, quantile):
    """What this share of x lies below, by some 100,000 of its elements."""
    some = x.flatten()[:: x.numel() // 100_000 + 1]
    return some.kthvalue(1 + round(quantile * (len(some) - 1))).values


def _stretch(x, low, high):
    low, high = _level(x, low), _level(x, high)
    return ((x - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)


def _shrink(frames, short_side):  # (T C H W) -> (T C h w)
    scale = min(1, short_side / min(frames.shape[-2:]))
    size = [max(1, round(length * scale)) for length in frames.shape[-2:]]
    if size == list(frames.shape[-2:]):
        return frames.contiguous()
    return F.interpolate(frames, size, mode="bilinear", antialias=True).contiguous()
