"""Holes at 1080p: ours against a forward warp that sorts all pixels of a frame by depth and copies them in that order.

B frames, C channels, H height, W width; depth is nearness, 0 far to 1 near.
"""

from unittest import mock

import torch
import torch.nn.functional as F

from pack.depth.models import normalise
from pack.depth.motion import MotionDepth
from pack.geometry import resize
from pack.holes import monobw
from pack.pipeline import Models, fit, warped_holes
from pack.sampling import ClipParams
from pack.video.reader import Report, read_clips
from tools.benches.case import CLIPS, Case, Gauge, Goal, Race, Workplace, run_program

FRAMES = 2  # per batch, as in packing
DIVERGENCE, CONVERGENCE = 4.0, 0.5  # the strongest of the usual settings
MB = 10**6


def textbook_holes(depth, divergence, convergence, view):  # (B 1 H W) -> uint8 (B 1 H W): 0, 1 (half), 2
    """The pixels that the other view hides, closed by two dilations and two erosions."""
    mask = textbook_mask(depth, divergence, convergence, view)
    closed = mask
    for sign in (1, 1, -1, -1):
        closed = sign * F.max_pool2d(sign * closed, 3, stride=1, padding=1)
    return ((closed + mask).clamp(0, 1) * 2).byte()


def textbook_mask(depth, divergence, convergence, view):  # (B 1 H W) -> same: 1 hidden, 0.5 behind two layers, else 0
    """The depth warped to one eye and filled, then an empty image warped back with it; left is mirrored right."""
    depth = depth if view == "right" else depth.flip(-1)
    there, back = ("left", "right") if view == "right" else ("right", "left")
    warped = textbook_fill(textbook_warp(depth, depth, divergence, convergence, there), there)
    seen = textbook_warp(torch.zeros_like(depth), warped, divergence, convergence, back)
    mask = (seen == -1).float() + 0.5 * (seen == -2).float()
    return mask if view == "right" else mask.flip(-1)


def textbook_warp(image, depth, divergence, convergence, view):  # (B C H W), (B 1 H W) -> (B C H W)
    """The image shifted by its depth: -1 where no pixel arrives, -2 where a nearer layer has passed."""
    width = image.shape[-1]
    pad = int(width * divergence * 0.01 + 2)
    image, depth = (F.pad(x, (pad, pad, 0, 0), mode="replicate") for x in (image, depth))
    x = torch.arange(image.shape[-1], dtype=torch.float32).expand_as(depth)
    slope = divergence * 0.01 * width * 0.5
    shift = depth * slope - slope * convergence
    position = (x + shift if view == "left" else x - shift).clamp(0, image.shape[-1] - 1)
    high_weight = (position - position.floor()).clamp(1e-5, 1 - 1e-5)
    layers = torch.cat((image, x), 1)
    low, low_weight = textbook_splat(layers, depth, position.floor(), 1 - high_weight)
    high, high_weight = textbook_splat(layers, depth, position.ceil(), high_weight)
    warped = (low * low_weight + high * high_weight) / (low_weight + high_weight)
    warped = torch.where(low_weight + high_weight > 0, warped, -1)[..., pad : pad + width]
    return textbook_mark(warped[:, :-1], textbook_fill(warped[:, -1:], view), view)


def textbook_splat(layers, depth, target, weight):  # (B C H W), (B 1 H W) x 3 -> (B C H W), (B 1 H W)
    """Every pixel and its weight written to its target, in the order of depth, so that the nearest is written last."""
    width = layers.shape[-1]
    row = torch.arange(layers.shape[-2])[:, None] * width
    order = depth.flatten(1).argsort(dim=1, stable=True)[:, None]  # (B 1 HW)
    place = (target.long() + row).flatten(2).gather(-1, order)
    values, weights = layers.flatten(2), weight.flatten(2)
    channels = values.shape[1]
    splat = torch.full_like(values, -1).scatter_(
        -1, place.expand(-1, channels, -1), values.gather(-1, order.expand(-1, channels, -1))
    )
    return splat.view_as(layers), torch.zeros_like(weights).scatter_(-1, place, weights.gather(-1, order)).view_as(
        depth
    )


def textbook_fill(values, view):  # (B C H W) -> same
    """Values below 0 replaced by their neighbour's until none is left; values beyond the border are 0."""
    for _ in range(100):
        if not (values < 0).any():
            break
        neighbour = F.pad(values, (1, 0))[..., :-1] if view == "left" else F.pad(values, (0, 1))[..., 1:]
        values = torch.where(values < 0, neighbour, values)
    return values


def textbook_mark(image, index, view):  # (B C H W), (B 1 H W) source columns -> (B C H W)
    """The image with -2 where the order of the source columns is reversed, propagated from pixel to pixel."""
    for _ in range(100):
        falls = index[..., :-1] > index[..., 1:]
        if not falls.any():
            break
        marked = F.pad(falls, (0, 1) if view == "left" else (1, 0))
        neighbour = F.pad(index, (0, 1))[..., 1:] if view == "left" else F.pad(index, (1, 0))[..., :-1]
        image, index = torch.where(marked, -2, image), torch.where(marked, neighbour, index)
    return image


def disparity(short_side: int) -> torch.Tensor:  # -> (FRAMES 1 H W)
    """Depth of the first frames of a clip at this short side, as packing computes it."""
    frames = next(read_clips(CLIPS[0], 16, 30.0, 0, 16, Report())).frames
    frames = resize(frames, short_side, "bicubic")
    depth = normalise(MotionDepth()(torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255))
    return fit(depth[:FRAMES], frames.shape[1:3])


def ours(depth):  # (B 1 H W) -> uint8 (B 1 H W): 0, 1 (half), 2
    params = ClipParams(None, 1080, "bicubic", DIVERGENCE, CONVERGENCE, "none", 0, "right", ())
    return warped_holes(depth, params, Models(None, None, torch.device("cpu"), 1, torch.get_num_threads()))


def prepare(place: Workplace) -> Race:
    depth = disparity(90 if place.tiny else 1080)

    def check() -> None:
        expected = textbook_holes(depth, DIVERGENCE, CONVERGENCE, "right")
        assert expected.any() and torch.equal(ours(depth), expected), "the holes differ from the reference"

    return Race(
        lambda: ours(depth), lambda: textbook_holes(depth, DIVERGENCE, CONVERGENCE, "right"), check, FRAMES, "frame"
    )


def prepare_monobw(place: Workplace) -> Race:
    depth = disparity(90 if place.tiny else 1080)
    frames = torch.rand(FRAMES, 3, *depth.shape[-2:], generator=torch.Generator().manual_seed(0))

    def by_rows():
        return monobw.backward_warp(frames, depth, DIVERGENCE, CONVERGENCE)

    def by_tensors():
        with mock.patch.object(monobw, "uses_rows", lambda _: False):
            return by_rows()

    def check() -> None:
        (eyes, holes), (expected, expected_holes) = by_rows(), by_tensors()
        assert holes.any() and torch.equal(holes, expected_holes), "the holes differ from the reference"
        assert (eyes - expected).abs().max() < 1e-3, "the eyes differ from the reference"

    return Race(by_rows, by_tensors, check, FRAMES, "frame")


def prepare_memory(place: Workplace) -> Gauge:
    """Peak memory of a batch of holes, in a process of its own, above that of the libraries."""
    size = (360, 640) if place.tiny else (1080, 1920)
    code = (
        "import sys, torch; sys.path.insert(0, '.')\n"
        "from tools.benches import holes\n"
        "from tools.cli.machine import peak_memory\n"
        f"depth = torch.rand({FRAMES}, 1, {size[0]}, {size[1]})\n"
        "holes.ours(torch.rand(1, 1, 8, 64))\n"
        "before = peak_memory()\n"
        "holes.ours(depth)\n"
        "print(peak_memory() - before, before)"
    )

    def measure() -> float:
        grown, before = (int(word) / MB for word in run_program(["-c", code]).split()[-2:])
        gauge.notes["libraries"] = f"{before:.0f} MB before the first batch"
        return grown

    gauge = Gauge(measure)
    return gauge


CASES = (
    Case("holes", "hole masks of 1080p frames / pixels sorted by depth and copied in that order", Goal(25), prepare),
    Case("monobw", "left eye and holes of 1080p frames / with tensor operations", Goal(20), prepare_monobw),
    Case("holes-memory", "peak memory of hole masks of 2 frames", Goal(500, "MB", at_most=True), prepare_memory, 3),
)
