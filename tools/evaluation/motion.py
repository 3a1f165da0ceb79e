"""Optical flow between the frames of a clip: OpenCV's DIS where OpenCV is installed, else pack.depth.flow.

T frames, H height, W width; flows are (N 2 H W) in pixels, right and down, frames float (T 3 H W) in [0, 1].
"""

import importlib.util

import numpy as np
import torch

from pack.depth.flow import in_frame, track, warp

HAS_CV2 = importlib.util.find_spec("cv2") is not None
LUMA = (0.299, 0.587, 0.114)


def optical_flow(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:  # (N 3 H W) x 2 -> (N 2 H W)
    """The motion from the first frames to the second ones, at each pixel of the first.

    Dense inverse search (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016).
    """
    return _dense_inverse_search(_bytes(first), _bytes(second)) if HAS_CV2 else _pyramid(first, second)


def flow_to_next(frames: torch.Tensor) -> torch.Tensor:  # (T 3 H W) -> (T-1 2 H W)
    """The optical flow from each frame to the next one."""
    if not HAS_CV2:
        return _pyramid(frames[:-1], frames[1:])
    images = _bytes(frames)  # of each frame once
    return _dense_inverse_search(images[:-1], images[1:])


def trusted(forward: torch.Tensor, backward: torch.Tensor) -> torch.Tensor:  # (N 2 H W) x 2 -> bool (N 1 H W)
    """Where both flows agree and stay inside the frame, so that the pixel is visible in both frames.

    |f + b(x + f)|^2 < 0.01 (|f|^2 + |b|^2) + 0.5: Sundaram, Brox and Keutzer, ECCV 2010, equation 5.
    """
    back = warp(backward, forward)
    miss = (forward + back).square().sum(1, keepdim=True)
    size = forward.square().sum(1, keepdim=True) + back.square().sum(1, keepdim=True)
    return (miss < 0.01 * size + 0.5) & in_frame(forward)


def grey(frames: torch.Tensor) -> torch.Tensor:  # (N 3 H W) -> (N 1 H W)
    """The luma (Rec. 601) of RGB frames."""
    return (frames * frames.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)


def _bytes(frames):  # (N 3 H W) -> uint8 (N H W)
    return (grey(frames).clamp(0, 1) * 255).round().byte()[:, 0]


def _dense_inverse_search(first, second):  # uint8 (N H W) x 2 -> (N 2 H W)
    import cv2  # an extra

    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    pairs = zip(first.cpu().numpy(), second.cpu().numpy(), strict=True)
    flows = np.stack([search.calc(a, b, None) for a, b in pairs])
    return torch.from_numpy(flows).permute(0, 3, 1, 2).contiguous().to(first.device)


def _pyramid(first, second):
    everywhere = first.new_ones(first.shape[-2:])
    return torch.cat([track(grey(torch.stack(pair)), everywhere)[0] for pair in zip(first, second, strict=True)])
