"""Numbers that say how near the filled frames are to the truth."""

import torch

# T frames, H height, W width; frames are in [0, 1]


def psnr(mse: torch.Tensor) -> torch.Tensor:
    """Peak signal to noise ratio in dB of images in [0, 1]; 100 dB where they are equal."""
    return -10 * torch.log10(mse.clamp(min=1e-10))


def sequence_metrics(output, target, holes):  # (T 3 H W), (T 3 H W), (T 1 H W) bool -> name: ()
    """PSNR and mean absolute error of a sequence, over the frame and over the holes alone.

    The squared error of all pixels of the sequence is averaged over pixels and colours before the logarithm.
    """
    error = (output.clamp(0, 1) - target).double()
    where = holes.expand_as(error)
    count = where.sum().clamp(min=1)
    return {
        "psnr": psnr(error.square().mean()),
        "masked_psnr": psnr((error.square() * where).sum() / count),
        "masked_mae": (error.abs() * where).sum() / count,
    }


def hole_share(holes):  # bool (T 1 H W) -> ()
    """The part of all pixels that is hidden."""
    return holes.double().mean()


def as_uint8(frames: torch.Tensor) -> torch.Tensor:  # float (... 3 H W) -> uint8 (... H W 3)
    """Frames as pictures are written."""
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8).movedim(-3, -1).cpu()
