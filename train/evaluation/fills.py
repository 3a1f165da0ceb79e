"""The two simplest fills, which evaluation draws beside the network's curve; tools/baselines.py has more of them.

T frames, C channels, H height, W width. A fill takes frames float (T C H W) whose holes are 0, and holes bool
(T 1 H W), and returns frames of which only the holes differ. Holes lie right of what hides them, so that the background
begins at their right end.
"""

import torch


def replicate(frames, holes):
    """In each row the first pixel of the background behind the hole; where the picture ends, the one before it."""
    right, left = hole_ends(holes)
    return take(frames, holes, torch.where(right < frames.shape[-1], right, left).clamp(min=0))


def nearest_frame(frames, holes):
    """The same pixel in the frame nearest in time that shows it, the earlier of two; where none does, replicate."""
    filled, missing = replicate(frames, holes), holes.clone()
    for gap in range(1, len(frames)):
        for step in (-gap, gap):
            here, there = _pair(len(frames), step)
            usable = missing[here] & ~holes[there]
            filled[here] = torch.where(usable, frames[there], filled[here])
            missing[here] &= ~usable
    return filled


def take(frames, holes, x):  # (T C H W), bool (T 1 H W), long (T 1 H W) -> (T C H W)
    """The frames with each hidden pixel taken from column x of its row."""
    columns = x.clamp(0, frames.shape[-1] - 1).expand(-1, frames.shape[1], -1, -1)
    return torch.where(holes, frames.gather(-1, columns), frames)


def _pair(frames, step):  # the slices of frames that have one `step` later, and of those
    return slice(max(0, -step), frames - max(0, step)), slice(max(0, step), frames - max(0, -step))


def hole_ends(holes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # bool (T 1 H W) -> long (T 1 H W) x 2
    """For each pixel the x of the next seen one on the right, W where there is none, and on the left, or -1."""
    width = holes.shape[-1]
    x = torch.arange(width, device=holes.device).expand(holes.shape)
    left = x.masked_fill(holes, -1).cummax(-1).values
    right = width - 1 - x.masked_fill(holes.flip(-1), -1).cummax(-1).values.flip(-1)
    return right, left
