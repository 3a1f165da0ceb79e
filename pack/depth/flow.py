"""Optical flow between frames, and the part of it that comes from rotation and zoom of the camera.

N pairs of frames, C channels, H height, W width. A flow is (N 2 H W): the pixels to the right and down by which each
pixel of the first frame moves until the second one.
"""

import torch
import torch.nn.functional as F

from pack.kernels.filters import box_filter

PULL = 0.02  # regularization towards the camera's flow: wins where the structure tensor is smaller than this
RADIUS = 3  # of the windows over which Lucas and Kanade's equations are summed


def warp(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:  # (N C H W), (N 2 H W) -> (N C H W)
    """The second frame sampled where the flow puts each pixel of the first; border values are repeated outside."""
    return _sample(image, flow_targets(flow))


def flow_targets(flow: torch.Tensor) -> torch.Tensor:  # (N 2 H W) -> (N H W 2)
    """Where the flow puts each pixel, (x, y), as grid_sample counts: -1 and 1 are the centres of the outer pixels."""
    height, width = flow.shape[-2:]
    x, y = torch.arange(width, device=flow.device), torch.arange(height, device=flow.device)
    last = flow.new_tensor((width - 1, height - 1)).clamp(min=1).view(2, 1, 1)
    where = (flow + torch.stack(torch.meshgrid(x, y, indexing="xy"))) * (2 / last) - 1
    return where.permute(0, 2, 3, 1)


def sample_at(image: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:  # (C H W), (P 2) -> (C P)
    """One frame sampled at some of `flow_targets`: the values that `warp` has there."""
    return _sample(image[None], targets[None, None])[0, :, 0]


def _sample(image, targets):  # (N C H W), (N h w 2) -> (N C h w)
    return F.grid_sample(image, targets, padding_mode="border", align_corners=True)


def in_frame(flow: torch.Tensor) -> torch.Tensor:  # (N 2 H W) -> bool (N 1 H W)
    """Where the flow ends inside the frame."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[:, :1]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1:]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def resize_flow(flow: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:  # (N 2 h w) -> (N 2 H W)
    """The flow resized to another frame size, its vectors scaled likewise."""
    height, width = flow.shape[-2:]
    scale = flow.new_tensor((size[1] / width, size[0] / height)).view(1, 2, 1, 1)
    return F.interpolate(flow, size, mode="bilinear") * scale


def local_contrast(grey: torch.Tensor) -> torch.Tensor:  # (T 1 H W) -> same
    """Brightness minus its local mean, divided by its local deviation: unchanged by a change of light."""
    grey = box_filter(grey, 1)  # finite differences are wrong for finer detail
    detail = grey - box_filter(grey, 6)
    return detail / (box_filter(detail.square(), 6).sqrt() + 0.03)


def track(grey: torch.Tensor, far: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Flow and camera flow (T-1 2 H W) from each frame (T 1 H W) to the next, computed coarse to fine.

    `far` (H W) weights the pixels in the estimate of the camera's motion.
    """
    levels = [local_contrast(level) for level in _pyramid(grey)[::-1]]
    camera = flow = grey.new_zeros(len(grey) - 1, 2, *levels[0].shape[-2:])
    for level in levels:
        size = (level.shape[-2], level.shape[-1])
        flow, camera = resize_flow(flow, size), resize_flow(camera, size)
        flow, texture = refine(level[:-1], level[1:], flow, camera, rounds=3)
        weight = F.interpolate(far[None, None], size, mode="bilinear")
        camera = camera_flow(flow, texture * weight)
    return flow, camera


def refine(a, b, flow, camera, rounds):  # (N 1 H W) x 2, (N 2 H W) x 2 -> (N 2 H W), (N 1 H W)
    """The flow after some rounds of Lucas and Kanade's step, and how well the texture determines it, 0 to 1.

    Where there is no texture it is drawn to the camera's flow, so that plain surfaces show no motion of their own.
    """
    gx, gy = _gradients(a)
    xx, xy, yy = box_filter(torch.cat((gx * gx, gx * gy, gy * gy), 1), RADIUS).split(1, 1)
    smaller_eigenvalue = (xx + yy) / 2 - ((xx - yy).square() / 4 + xy.square()).sqrt()
    sxx, syy = xx + PULL, yy + PULL
    determinant = sxx * syy - xy.square()
    for _ in range(rounds):
        error = (a - warp(b, flow)).clamp(-1, 1)
        x, y = (box_filter(torch.cat((gx * error, gy * error), 1), RADIUS) + PULL * (camera - flow)).split(1, 1)
        step = torch.cat((syy * x - xy * y, sxx * y - xy * x), 1) / determinant
        flow = flow + step.clamp(-1, 1)
    return flow, smaller_eigenvalue / (smaller_eigenvalue + 0.05)


def camera_flow(flow: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:  # (N 2 H W), (N 1 H W) -> (N 2 H W)
    """The shift, rotation and zoom that fit the weighted flow best (iteratively reweighted least squares).

    Moving objects lose their weight. Shear and tilt are left out: they would explain the parallax of a floor.
    """
    cell = max(1, min(flow.shape[-2:]) // 32)
    mass = F.avg_pool2d(weight, cell)
    observed = (F.avg_pool2d(flow * weight, cell) / (mass + 1e-6)).double().flatten(1)  # (N 2P)
    mass = mass.double().flatten(1)  # (N P)
    basis = _similarity_basis(flow.shape[-2:], flow.device)  # (4 2 H W)
    centres = F.avg_pool2d(basis, cell).flatten(1)  # (4 2P)
    products = (centres[:, None] * centres).unflatten(-1, (2, -1)).sum(2).flatten(0, 1)  # (4*4 P)
    spread, confidence = None, torch.ones_like(mass)
    for i in range(5):
        votes = mass * confidence
        left = (votes @ products.mT).view(-1, 4, 4) + 1e-6 * torch.eye(4).to(votes)
        motion = torch.linalg.solve(left, (votes.repeat(1, 2) * observed) @ centres.mT)  # (N 4)
        residual = (observed - motion @ centres).square().unflatten(-1, (2, -1)).sum(1)
        if spread is None:
            spread = (mass * residual).sum(1, keepdim=True) / (mass.sum(1, keepdim=True) + 1e-6)
        limit = (spread * 0.5**i).clamp(min=0.1**2)
        confidence = (limit / (limit + residual)).square()
    motion = (motion * 1e6).round() / 1e6  # the last digits of a sum depend on the number of threads
    return (motion @ basis.flatten(1)).view(flow.shape).float()


def _similarity_basis(size, device):  # -> (4 2 H W): the flows of a shift along x, along y, a zoom and a rotation
    height, width = size
    y = (torch.arange(height, device=device, dtype=torch.float64) - (height - 1) / 2)[:, None].expand(size) / width
    x = (torch.arange(width, device=device, dtype=torch.float64) - (width - 1) / 2).expand(size) / width
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return torch.stack([torch.stack(pair) for pair in ((one, zero), (zero, one), (x, y), (-y, x))])


def _pyramid(x):  # (N 1 H W) -> fine to coarse
    levels = [x]
    while min(levels[-1].shape[-2:]) >= 24:
        levels.append(F.avg_pool2d(levels[-1], 2, ceil_mode=True))
    return levels


def _gradients(x):
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2, (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
