"""The cost of LPIPS: its share of a training step's time, by the number of frames that it is computed on."""

import statistics
import time
from collections.abc import Callable

import torch

from tools.benches.case import Case, Gauge, Goal, Workplace
from tools.benches.step import FRAMES, TILE, inputs, networks
from train.config import Config
from train.objectives.loss import create_loss
from train.objectives.perceptual import TAPS, Perceptual, vgg16_trunk


def prepare(frames: int) -> Callable[[Workplace], Gauge]:
    """The share of LPIPS on `frames` frames, with random weights: as fast as real ones, and no download."""

    def ready(place: Workplace) -> Gauge:
        network, _ = networks(place.tiny)
        picture, holes = inputs(network, 64 if place.tiny else TILE)
        target, inside = (v[..., 16:-16, 16:-16] for v in (picture, holes > 0.5))
        widths = (8,) * len(TAPS) if place.tiny else (64, 128, 256, 512, 512)
        trunk = vgg16_trunk(widths)
        lpips = Perceptual(trunk, [torch.rand(width) for width in widths])
        losses = {name: create_loss(name, frames, perceptual=lpips) for name in ("temporal_l1", "temporal_l1lpips")}

        def seconds(name: str) -> float:
            started = time.perf_counter()
            network.zero_grad()
            gen = torch.Generator().manual_seed(0)
            sum(losses[name](network(picture, holes), target, inside, gen).values()).backward()
            return time.perf_counter() - started

        def measure() -> float:
            without, with_it = (statistics.median(seconds(name) for _ in range(2)) for name in losses)
            return max(100 * (1 - without / with_it), 0.01)

        return Gauge(measure)

    return ready


def case(frames: int, *words: str) -> Case:
    """The case of LPIPS on `frames` frames; `words` are added to its description."""
    what = ", ".join([f"share of LPIPS on {frames} of {FRAMES} frames in a training step", *words])
    return Case(f"lpips-{frames}", what, Goal(40, "%", at_most=True) if words else None, prepare(frames), 2)


CASES = (case(FRAMES), case(Config.lpips_frames, "the default"))
