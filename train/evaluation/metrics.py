"""Metrics of filled frames against the true ones."""

from typing import NamedTuple

import torch

# T frames, H height, W width; frames are in [0, 1]
RADIUS, SIGMA = 5, 1.5  # of SSIM's window
BLOCK = 32  # rows that SSIM's window is applied to at once
C1, C2 = 0.01**2, 0.03**2
HIGHER = ("psnr", "masked_psnr", "masked_ssim")  # higher is better; of all other metrics lower is better


class Moments(NamedTuple):
    """Mean and variance of frames in SSIM's window around each pixel, (T 3 H W) each."""

    mean: torch.Tensor  # of frames - 0.5: the differences of squares lose fewer digits around 0
    variance: torch.Tensor


def psnr(mse: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB of images in [0, 1]; 100 dB where they are equal."""
    return -10 * torch.log10(mse.clamp(min=1e-10))


def sequence_metrics(
    output: torch.Tensor, target: torch.Tensor, holes: torch.Tensor, of_target: Moments | None = None
) -> dict[str, torch.Tensor]:  # (T 3 H W) x 2, bool (T 1 H W) -> name: ()
    """PSNR of a sequence over whole frames; PSNR, SSIM, mean absolute and temporal error over the holes alone.

    PSNR is of the squared error averaged over all pixels and colours of the sequence. Without holes the masked metrics
    are those of a perfect fill.
    """
    output = output.clamp(0, 1)
    error = (output - target).double()
    change = change_error(output, target)
    return {
        "psnr": psnr(error.square().mean()),
        "masked_psnr": psnr(_mean_in_holes(error.square(), holes)),
        "masked_ssim": 1 - _mean_in_holes(1 - ssim_map(output, target, of_target).double(), holes),
        "masked_mae": _mean_in_holes(error.abs(), holes),
        "masked_tde": _mean_in_holes(change, in_either_frame(holes)),
    }


def _mean_in_holes(error, where):  # (T 3 H W), bool (T 1 H W) -> (): 0 without holes
    return (error * where).sum() / where.expand_as(error).sum().clamp(min=1)


def change_error(output, truth):  # (T 3 H W) x 2 -> (T-1 3 H W)
    """|(o[t+1] - o[t]) - (y[t+1] - y[t])| of an output o and the truth y."""
    return (output - truth).diff(dim=0).abs().double()


def in_either_frame(holes):  # bool (T 1 H W) -> (T-1 1 H W)
    """Where a pixel is a hole in a frame or in the next one."""
    return holes[1:] | holes[:-1]


def mean_where(values, where):  # (... 1 H W), bool (... 1 H W) -> (), nan if there is none
    return values[where.expand_as(values)].double().mean()


def moments(frames: torch.Tensor) -> Moments:  # (T 3 H W)
    """The moments of frames, which serve all outputs that are compared with them."""
    y = frames - 0.5
    mean, square = _blur(torch.stack((y, y * y)))
    return Moments(mean, square - mean**2)


def ssim_map(
    output: torch.Tensor, truth: torch.Tensor, of_truth: Moments | None = None
) -> torch.Tensor:  # (T 3 H W) x 2 -> (T 3 H W)
    """Structural similarity (Wang et al., "Image Quality Assessment", IEEE TIP 2004, equation 13).

    Gaussian window of 11 pixels and standard deviation 1.5, population moments, symmetric borders.
    """
    mean_y, var_y = of_truth or moments(truth)
    x = output - 0.5
    mean_x, xx, xy = _blur(torch.stack((x, x * x, x * (truth - 0.5))))
    var_x, covariance = xx - mean_x**2, xy - mean_x * mean_y
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    return ((2 * mean_x * mean_y + C1) * (2 * covariance + C2)) / ((mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2))


def _blur(x):  # (... H W) -> same
    return _blur_rows(_blur_rows(x).mT).mT


def _blur_rows(x):  # (... H W) -> same, each column blurred
    # matrix products are several times as fast as a convolution with 11 taps; a row needs only those around it
    window, size = _window(x.shape[-2]).to(x), x.shape[-2]
    reach = [(top, max(top - RADIUS, 0), min(top + BLOCK + RADIUS, size)) for top in range(0, size, BLOCK)]
    return torch.cat([window[t : t + BLOCK, low:high] @ x[..., low:high, :] for t, low, high in reach], -2)


def window_weights() -> torch.Tensor:  # -> float64 (11)
    """The weights of SSIM's window along one axis."""
    tap = torch.arange(-RADIUS, RADIUS + 1)
    weights = torch.exp(-0.5 * (tap.double() / SIGMA) ** 2)
    return weights / weights.sum()


def _window(size):  # -> (size size): row i holds the weights of the pixels around i, mirrored at the borders
    i, tap = torch.arange(size)[:, None], torch.arange(-RADIUS, RADIUS + 1)
    source = i + tap
    source = torch.where(source < 0, -1 - source, torch.where(source >= size, 2 * size - 1 - source, source))
    return torch.zeros(size, size).double().scatter_add_(1, source, window_weights().expand(size, -1))


def temporal_difference(output, truth, holes):  # -> ()
    """Mean |(o[t+1] - o[t]) - (y[t+1] - y[t])| over pixels that are a hole in either frame.

    dtSSD of Erofeev et al. ("Perceptually Motivated Benchmark for Video Matting", BMVC 2015), with absolute values.
    """
    return mean_where(change_error(output, truth), in_either_frame(holes))


def hole_share(holes):  # bool (T 1 H W) -> ()
    """The share of hole pixels."""
    return holes.double().mean()


def as_uint8(frames: torch.Tensor) -> torch.Tensor:  # float (... 3 H W) -> uint8 (... H W 3)
    """Frames as 8-bit images, channels last, on the CPU."""
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8).movedim(-3, -1).cpu()
