"""Makes batches on the training device: floats from the bytes of samples, then looks and colour jitter.

B samples, T frames (12), S side of the tile. The random parameters are those that each slot drew; the order is that of
iw3's augmentations. Holes arrive dilated, because the choice of the tile needs the dilated masks of the whole record.
"""

from collections.abc import Sequence
from itertools import groupby

import torch

from train.data.crop import Jitter
from train.data.looks import apply_looks, shrink
from train.data.samples import Sample


def to_device_batch(
    samples: Sequence[Sample], device: torch.device | str
) -> tuple[torch.Tensor, torch.Tensor]:  # -> float (B T 3 S S) in [0, 1], bool (B T 1 S S)
    """Frames and holes of the samples on the device, augmented there. This is the one place where frames become float.

    Call it outside of autocast: the result is float32. A sample's pixels do not depend on the others of its batch.
    """
    device = torch.device(device)
    looks = [sample.look for sample in samples]
    factors = [look.shrink if look else 1 for look in looks]
    order = sorted(range(len(samples)), key=factors.__getitem__)
    parts = []
    for factor, group in groupby(order, key=factors.__getitem__):  # samples of one size
        chosen = [samples[b] for b in group]
        frames = to_float(transfer([sample.frames for sample in chosen], device))
        holes = transfer([sample.holes for sample in chosen], device)[:, :, None]
        parts.append(shrink(frames, holes, factor))
    if len(parts) == 1:
        frames, holes = parts[0]
    else:
        back = torch.tensor(order).argsort().to(device)
        frames, holes = (torch.cat(part)[back] for part in zip(*parts, strict=True))
    frames, holes = apply_looks(frames, holes, looks)
    return jitter_(frames, [sample.jitter for sample in samples]), holes


def transfer(tensors: list[torch.Tensor], device: torch.device) -> torch.Tensor:  # B of one shape -> (B ...)
    """The tensors, stacked on the device; a GPU copies them while the process goes on."""
    pinned = device.type == "cuda"
    stacked = torch.empty((len(tensors), *tensors[0].shape), dtype=tensors[0].dtype, pin_memory=pinned)
    torch.stack(tensors, out=stacked)
    return stacked.to(device, non_blocking=pinned)


def to_float(pixels: torch.Tensor) -> torch.Tensor:  # uint8 (B T S S 3) -> float (B T 3 S S) in [0, 1]
    """Pixels in the form that the network takes."""
    planes = pixels.movedim(-1, 2)
    frames = torch.empty(planes.shape, device=pixels.device)
    return frames.copy_(planes).div_(255)


def jitter_(frames: torch.Tensor, jitters: Sequence[Jitter]) -> torch.Tensor:  # float (B T 3 S S), B -> same, in place
    """The same colour change in all frames of a sample."""
    for b, jitter in enumerate(jitters):
        if jitter == "gray":
            frames[b] = frames[b].mean(1, keepdim=True)
    scaled = [jitter if isinstance(jitter, tuple) else ((1.0,) * 3, (0.0,) * 3) for jitter in jitters]
    if any(isinstance(jitter, tuple) for jitter in jitters):
        scale, bias = frames.new_tensor(scaled).unbind(1)  # each (B 3)
        frames.mul_(scale[:, None, :, None, None]).add_(bias[:, None, :, None, None]).clamp_(0, 1)
    return frames
