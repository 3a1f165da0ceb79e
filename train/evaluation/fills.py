"""Two simple fills, with which evaluation compares the network; tools/evaluation/baselines.py has more.

T frames, C channels, H height, W width. A fill takes frames, float (T C H W), with 0 in holes, and holes, bool
(T 1 H W); it returns frames that differ in the holes only. Holes lie to the right of the object that hides them, so the
background begins at their right end.
"""

import torch


def replicate(frames, holes):
    """Each hole pixel gets the value of the next pixel on the right that is no hole, or at the border on the left."""
    right, left = hole_ends(holes)
    return take(frames, holes, torch.where(right < frames.shape[-1], right, left).clamp(min=0))


def nearest_frame(frames, holes):
    """Each hole pixel gets its value in the nearest frame that shows it, the earlier of two, or else `replicate`."""
    filled, missing = replicate(frames, holes), holes.clone()
    for gap in range(1, len(frames)):
        for step in (-gap, gap):
            here, there = _pair(len(frames), step)
            usable = missing[here] & ~holes[there]
            filled[here] = torch.where(usable, frames[there], filled[here])
            missing[here] &= ~usable
    return filled


def take(frames, holes, x):  # (T C H W), bool (T 1 H W), long (T 1 H W) -> (T C H W)
    """The frames with each hole pixel copied from column x of its row."""
    columns = x.clamp(0, frames.shape[-1] - 1).expand(-1, frames.shape[1], -1, -1)
    return torch.where(holes, frames.gather(-1, columns), frames)


def _pair(frames, step):  # slices that pair each frame t with frame t + step, where both exist
    return slice(max(0, -step), frames - max(0, step)), slice(max(0, step), frames - max(0, -step))


def hole_ends(holes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # bool (T 1 H W) -> long (T 1 H W) x 2
    """For each pixel the x of the next pixel on the right that is no hole (W if none), and on the left (-1 if none)."""
    width = holes.shape[-1]
    x = torch.arange(width, device=holes.device).expand(holes.shape)
    left = x.masked_fill(holes, -1).cummax(-1).values
    right = width - 1 - x.masked_fill(holes.flip(-1), -1).cummax(-1).values.flip(-1)
    return right, left
