"""Morphology of hole masks: dilate, erode, close and blur. Masks are (..., H, W), bool or float."""

import torch
import torch.nn.functional as F

CLOSING = 2  # rounds of dilation and erosion by which iw3 closes holes
INNER_DILATION, OUTER_DILATION = 1, 2  # pixels of the depth map by which iw3 then grows them to the left and right
BLUR_TAPS = 15
BLUR_SIGMA = 0.15 * BLUR_TAPS + 0.35


def dilate(mask: torch.Tensor, n: int = 1) -> torch.Tensor:  # (... H W) -> same shape and dtype
    """The mask after n times a 3x3 maximum; pixels outside of the image are ignored."""
    return _over_squares(mask, n, torch.maximum)


def erode(mask: torch.Tensor, n: int = 1) -> torch.Tensor:  # (... H W) -> same shape and dtype
    """The mask after n times a 3x3 minimum; pixels outside of the image are ignored."""
    return _over_squares(mask, n, torch.minimum)


def mask_closing(mask: torch.Tensor, n: int = CLOSING) -> torch.Tensor:  # (... H W) -> float, same shape
    """The mask with gaps of up to 2n pixels closed, as float in [0, 1]; values of 0.5 that are not covered stay."""
    mask = mask if mask.is_floating_point() else mask.float()
    return (erode(dilate(mask, n), n) + mask).clamp(0, 1)


def dilate_outer(mask: torch.Tensor, n: int, base_width: int | None = None) -> torch.Tensor:
    """The mask (... H W) with every hole extended to the right by n pixels, scaled by width / base_width if given.

    Any value above 0 counts as a hole; the result holds 0 and 1 in the dtype of the mask.
    """
    return _grow(mask, n, base_width, to_left=False)


def dilate_inner(mask: torch.Tensor, n: int, base_width: int | None = None) -> torch.Tensor:
    """The mask (... H W) with every hole extended to the left; otherwise like `dilate_outer`."""
    return _grow(mask, n, base_width, to_left=True)


def mask_blur(mask: torch.Tensor) -> torch.Tensor:  # (... H W) -> float, same shape
    """The mask blurred by a Gaussian of 15 taps and sigma 2.6, with border values repeated outside."""
    mask = mask if mask.is_floating_point() else mask.float()
    taps = blur_taps(mask.device).to(mask.dtype)
    pad = BLUR_TAPS // 2
    planes = F.pad(_planes(mask), (pad, pad, pad, pad), mode="replicate")
    planes = F.conv2d(planes, taps.view(1, 1, 1, -1))
    return F.conv2d(planes, taps.view(1, 1, -1, 1)).view(mask.shape)


def blur_taps(device: torch.device | str = "cpu") -> torch.Tensor:  # (15,)
    """The taps of the Gaussian: exp(-(n / sigma)^2 / 2) for n = -7..7, divided by their sum."""
    n = torch.arange(BLUR_TAPS, dtype=torch.float64, device=device) - BLUR_TAPS // 2
    taps = torch.exp(-0.5 * (n / BLUR_SIGMA) ** 2)
    return (taps / taps.sum()).float()


def _over_squares(mask, n, pick):
    # n times 3x3 is one square of 2n+1, and a square is a row followed by a column; shifted copies are six times as
    # fast as pooling, thirty times in uint8
    for axis in (-1, -2):
        length = mask.shape[axis]
        result = mask.clone()
        for step in range(1, min(n, length - 1) + 1):
            for to, source in ((step, 0), (0, step)):
                part = result.narrow(axis, to, length - step)
                pick(part, mask.narrow(axis, source, length - step), out=part)
        mask = result
    return mask


def _planes(mask):  # (... H W) -> float (N 1 H W), which is what pooling and convolution take
    mask = mask if mask.is_floating_point() else mask.float()
    return mask.reshape(-1, 1, *mask.shape[-2:])


def _grow(mask, n, base_width, to_left):
    if n <= 0:
        return mask
    if base_width is not None:
        n = max(round(mask.shape[-1] / base_width * n), 1)
    # n shifts by one pixel cover n+1 pixels, with zeros from outside; each pass here doubles that number
    holes = mask if mask.dtype == torch.bool else mask > 0  # a comparison of bool takes longer than the rest
    holes, reach = F.pad(holes, (0, n) if to_left else (n, 0)), 1
    while reach <= n:
        step = min(reach, n + 1 - reach)
        holes, reach = holes[..., step:] | holes[..., :-step], reach + step
    return holes.to(mask.dtype)
