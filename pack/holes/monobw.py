"""The other eye by a monotone backward warp: what iw3's methods `monobw` and `monobw_inpaint` show and mask.

B frames, C channels, H height, W width of the frames; h, w of the depth map. Depth is nearness, 0 far to 1 near,
already mapped to disparity. Each row of the depth map is warped forward without folds, this map is inverted, and the
frame is sampled where the inverse points. Where the inverse hardly advances the frame is stretched: those pixels are
the holes.
"""

import numpy as np
import torch
import torch.nn.functional as F

from pack.kernels.filters import uses_rows

TAPS, SIGMA = 9, 1.7  # of the Gaussian that smooths folds, columns
WIDENED = 2  # columns at each side of a fold that are smoothed too
EPSILON = 1e-5  # pixels, so that a step of the forward map is never 0
LEAST_ADVANCE = 0.5  # pixels: a hole is where the sampling position advances by less per column


def backward_warp(
    frame: torch.Tensor,
    depth: torch.Tensor,
    divergence: float,
    convergence: float,
    keep_border: bool = False,
    clear: int = 2,
) -> tuple[torch.Tensor, torch.Tensor]:  # (B C H W), (B 1 h w) -> float (B C H W), bool (B 1 H W)
    """The left eye and its holes, where it is stretched. For the right eye flip frame and depth, and both results back.

    Nearness 0 and 1 land `divergence / 2` percent of the depth map's longer side apart; nearness `convergence` does not
    move. With `keep_border` the shift falls to 0 towards both sides of the frame. Without it the content of the first
    columns comes from outside the frame, and they are no holes: on the left side if `clear` is 1, on both if it is 2.
    """
    frame, depth = frame.float(), depth.float()
    by_rows = uses_rows(frame) and uses_rows(depth)
    with torch.autocast(depth.device.type, enabled=False):  # half precision cannot hold positions
        grid = _grid(depth, divergence, convergence, keep_border, by_rows)
        if depth.shape[-2:] != frame.shape[-2:]:
            grid = F.interpolate(grid, frame.shape[-2:], mode="bilinear", align_corners=True)
        may_be_hole = _may_be_hole(depth, frame.shape[-1], divergence, keep_border, clear)
        return (_sample_by_rows if by_rows else _sample)(frame, grid, may_be_hole)


def moved_holes(
    depth: torch.Tensor,
    size: tuple[int, int],
    divergence: float,
    convergence: float,
    clear: int = 2,
    threads: int | None = None,
) -> torch.Tensor:  # (B 1 h w), (H, W) -> bool (B 1 H W)
    """What packing hides in frames of this size: the holes of their right eyes, each moved back to its edge.

    A hole of the right eye begins beside the edge of something near. Each run of a row keeps its width, and begins
    beside the same edge in the frame: what is near is on its left, and it hides background, as in use.
    """
    depth = depth.float().flip(-1)
    by_rows = uses_rows(depth)
    with torch.autocast(depth.device.type, enabled=False):
        grid = _grid(depth, divergence, convergence, False, by_rows, threads)
        grid = F.interpolate(grid, size, mode="bilinear", align_corners=True) if depth.shape[-2:] != size else grid
        may_be_hole = _may_be_hole(depth, size[1], divergence, False, clear)
        return (_moved_by_rows(grid, may_be_hole, threads) if by_rows else _moved(grid, may_be_hole)).flip(-1)


def inverse_map(
    depth: torch.Tensor, divergence: float, convergence: float, keep_border: bool = False
) -> torch.Tensor:  # (B 1 h w) -> same, columns
    """For each column of the left eye the column of the depth map that it shows."""
    width = depth.shape[-1]
    x = torch.arange(width, dtype=torch.float32, device=depth.device)
    slope, ramp = _slope(depth, divergence), _ramp(width, divergence, keep_border).to(depth.device)
    target = x + (depth.float() - convergence) * slope * ramp
    forward = target.cummax(-1).values
    folded = (target != forward).float()
    folded = F.max_pool2d(folded, (1, 2 * WIDENED + 1), stride=1, padding=(0, WIDENED)) > 0
    forward = torch.where(folded, _smooth(forward), forward)

    after = torch.searchsorted(forward, x.expand_as(forward).contiguous())  # the first column that lands at x or beyond
    low, high = (after - 1).clamp(0, width - 1), after.clamp(0, width - 1)
    start, end = forward.gather(-1, low), forward.gather(-1, high)
    return low + (x - start) / (end - start + EPSILON) * (high - low)


def _may_be_hole(depth, width, divergence, keep_border, clear):
    """The columns of the frame, from the first to before the second, that are not cleared."""
    cleared = 0 if keep_border or not clear else round(divergence * 0.01 * depth.shape[-1]) + 1
    return min(cleared, width), max(width - (cleared if clear == 2 else 0), 0)


def _slope(depth, divergence):
    """Columns by which nearness 1 moves from nearness 0."""
    height, width = depth.shape[-2:]
    return divergence * 0.01 * (max(height, width) / width) * (width - 1) * 0.5


def _ramp(width, divergence, keep_border):  # -> (W)
    """What shifts are multiplied by: 1, and with `keep_border` from and to 0 at the sides."""
    ramp = torch.ones(width)
    border = min(round(divergence * 0.75 * 0.01 * width), width) if keep_border else 0
    ramp[:border] = torch.linspace(0, 1, border)
    ramp[width - border :] = torch.linspace(1, 0, border)
    return ramp


def _taps() -> torch.Tensor:  # -> (TAPS)
    """The Gaussian that smooths folds, normalised in float32 as iw3's is."""
    weights = torch.exp(-0.5 * ((torch.arange(TAPS) - TAPS // 2) / SIGMA) ** 2)
    return weights / weights.sum()


def _smooth(forward):  # (B 1 H W) -> same
    """Smoothed along rows; summed tap by tap, so that the compiled rows round in the same way."""
    width = forward.shape[-1]
    padded = F.pad(forward, (TAPS // 2, TAPS // 2, 0, 0), mode="replicate")
    total = torch.zeros_like(forward)
    for i, weight in enumerate(_taps().tolist()):
        total += padded[..., i : i + width] * weight
    return total


def _grid(depth, divergence, convergence, keep_border, by_rows, threads=None):  # (B 1 h w) -> (B 1 h w) in [-1, 1]
    """Where each pixel of the left eye samples along x, as `grid_sample` counts it."""
    width = depth.shape[-1]
    if not by_rows:
        return inverse_map(depth, divergence, convergence, keep_border) / max(width - 1, 1) * 2 - 1
    from pack.holes.monobw_rows import grid_rows  # numba takes a second to import

    ramp, taps = _ramp(width, divergence, keep_border).numpy(), _taps().numpy()
    scale = convergence, _slope(depth, divergence), ramp, taps, threads or torch.get_num_threads()
    return torch.from_numpy(grid_rows(depth.reshape(-1, width).numpy(), *scale)).view_as(depth)


def _sample(frame, grid, may_be_hole):  # (B C H W), (B 1 H W) -> (B C H W), bool (B 1 H W)
    height = frame.shape[-2]
    y = torch.linspace(-1, 1, height, device=frame.device)[:, None].expand_as(grid)
    places = torch.cat((grid, y), 1).permute(0, 2, 3, 1)  # (B H W 2)
    eye = F.grid_sample(frame, places, mode="bilinear", padding_mode="border", align_corners=True)
    return eye, _stretched(grid, may_be_hole)


def _stretched(grid, may_be_hole):  # (B 1 H W) -> bool (B 1 H W)
    stretched = grid.diff(dim=-1) < least_advance(grid.shape[-1])
    holes = F.pad(stretched, (0, 1)) | F.pad(stretched, (1, 0))
    holes[..., : may_be_hole[0]] = False
    holes[..., may_be_hole[1] :] = False
    return holes


def _moved(grid, may_be_hole):  # (B 1 H W) -> bool (B 1 H W)
    """The holes of a left eye, each moved to the left of the edge whose column its last one samples."""
    width = grid.shape[-1]
    holes = _stretched(grid, may_be_hole)
    x = torch.arange(width, device=grid.device).expand_as(grid)
    ends = holes & ~F.pad(holes, (0, 1))[..., 1:]
    last = torch.where(ends, x, width - 1).flip(-1).cummin(-1).values.flip(-1)  # column of the run that x is in
    source = ((grid + 1) / 2 * (width - 1) + 0.5).floor().long()
    target = x + source.gather(-1, last) - last
    inside = holes & (target >= 0) & (target < width)
    moved = torch.zeros_like(holes, dtype=torch.uint8)
    return moved.scatter_reduce_(-1, target.clamp(0, width - 1), inside.byte(), "amax").bool()


def _moved_by_rows(grid, may_be_hole, threads):  # as _moved
    from pack.holes.monobw_rows import moved_rows  # as above

    width = grid.shape[-1]
    rows = grid.contiguous().view(-1, width).numpy()
    moved = moved_rows(rows, least_advance(width), *may_be_hole, threads or torch.get_num_threads())
    return torch.from_numpy(moved).view(grid.shape)


def _sample_by_rows(frame, grid, may_be_hole):  # as _sample
    from pack.holes.monobw_rows import sample_rows  # as above

    # in NumPy's memory, which has huge pages: to map torch's took as long as to fill it
    eye, holes = np.empty(frame.shape, np.float32), np.empty(grid.shape, np.bool_)
    planes = frame.contiguous().numpy(), grid.contiguous()[:, 0].numpy()
    least = least_advance(frame.shape[-1])
    sample_rows(*planes, eye, holes[:, 0], least, *may_be_hole, torch.get_num_threads())
    return torch.from_numpy(eye), torch.from_numpy(holes)


def least_advance(width: int) -> float:
    """In units of the grid: where it advances by less per column the eye is stretched, and both columns are holes."""
    return LEAST_ADVANCE * 2 / max(width - 1, 1)
