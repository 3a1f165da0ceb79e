"""Differentiable augmentation: output and target get the same random shift or rotation before the loss.

So the loss does not see the pixel grid on which the network works.
"""

import math

import torch
import torch.nn.functional as F

from model.device import must_be_deterministic

# T frames, C channels, H height, W width; pads are (left, right, top, bottom)

MAX_SHIFT = 8  # pixels
MAX_DEGREES = 15.0


def diff_aug(output, target, holes, gen):  # (T C H W), (T C H W), (T 1 H W) bool -> same
    """All three transformed alike: a third of the clips shifted by up to 8 pixels per axis, a third rotated by up to 15
    degrees, a third unchanged.

    Uncovered borders are filled with reflections, through which no gradient flows and which are no holes.
    """
    kind = _integer(0, 2, gen)
    if kind == 0:
        dx, dy = _integer(-MAX_SHIFT, MAX_SHIFT, gen), _integer(-MAX_SHIFT, MAX_SHIFT, gen)
        return translate(output, dx, dy), translate(target, dx, dy), translate_holes(holes, dx, dy)
    if kind == 1:
        degrees = _uniform(-MAX_DEGREES, MAX_DEGREES, gen)
        return rotate(output, degrees), rotate(target, degrees), rotate_holes(holes, degrees)
    return output, target, holes


def translate(x, dx, dy):  # (T C H W) -> same
    """The frames moved dx pixels to the right and dy down; uncovered borders are reflections."""
    return _window(reflect_pad(x, _uncovered(dx, dy)), dx, dy, x.shape)


def translate_holes(holes, dx, dy):  # (T 1 H W) bool -> same
    """Holes moved as `translate` moves frames; uncovered borders are no holes."""
    return _window(F.pad(holes, _uncovered(dx, dy)), dx, dy, holes.shape)


def rotate(x, degrees):  # (T C H W) -> same
    """The frames rotated about the centre; uncovered corners are reflections."""
    height, width = x.shape[-2:]
    py, px = margin(height), margin(width)
    return spin(reflect_pad(x, (px, px, py, py)), degrees)[..., py : py + height, px : px + width]


def rotate_holes(holes, degrees):  # (T 1 H W) bool -> same
    """Holes rotated as `rotate` rotates frames, to the nearest pixel; uncovered corners are no holes."""
    height, width = holes.shape[-2:]
    py, px = margin(height), margin(width)
    canvas = F.pad(holes.float(), (px, px, py, py))
    return spin(canvas, degrees, mode="nearest")[..., py : py + height, px : px + width] > 0


def margin(size):
    """Pixels to add on each side so that no rotation of a square of this size cuts off a corner."""
    return (int(math.sqrt(2) * size) - size) // 2 + 1


def spin(x, degrees, mode="bilinear"):  # (T C H W), number or (T) -> (T C H W), 0 outside
    """Each frame rotated about its centre.

    As in iw3 the grid runs from -1 to 1, although with align_corners=False the pixels' centres do not: this zooms by
    n/(n-1).
    """
    frames, _, height, width = x.shape
    angle = torch.deg2rad(torch.as_tensor(degrees, dtype=torch.float32, device=x.device)).expand(frames).view(-1, 1, 1)
    ys = torch.linspace(-1, 1, height, device=x.device).view(-1, 1)
    xs = torch.linspace(-1, 1, width, device=x.device)
    cos, sin = angle.cos(), angle.sin()
    grid = torch.stack([xs * cos - ys * sin, xs * sin + ys * cos], dim=-1)  # (T H W 2)
    if must_be_deterministic(x):
        return sample_on_cpu(x, grid, mode)
    return F.grid_sample(x, grid, mode, "zeros", align_corners=False)


def sample_on_cpu(x, grid, mode):
    """grid_sample on the CPU, because CUDA has no deterministic backward pass of it."""
    return F.grid_sample(x.cpu(), grid.cpu(), mode, "zeros", align_corners=False).to(x.device)


def reflect_pad(x, pad):  # (T C H W) -> larger
    """Frames with reflections around them, through which no gradient flows."""
    left, _, top, _ = pad
    canvas = F.pad(x.detach(), pad, mode="reflect")
    canvas[..., top : top + x.shape[-2], left : left + x.shape[-1]] = x
    return canvas


def _uncovered(dx, dy):  # -> pads
    return max(dx, 0), max(-dx, 0), max(dy, 0), max(-dy, 0)


def _window(canvas, dx, dy, shape):
    top, left = max(-dy, 0), max(-dx, 0)
    return canvas[..., top : top + shape[-2], left : left + shape[-1]]


def _integer(low, high, gen):  # both ends included
    return torch.randint(low, high + 1, (), generator=gen, device=gen.device).item()


def _uniform(low, high, gen):
    return low + (high - low) * torch.rand((), generator=gen, device=gen.device).item()
