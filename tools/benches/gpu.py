"""On a GPU: a training step and holes against plain references there, and how much of the GPU a step uses.

Without a GPU there are no such cases. Sequences a second with data and evaluation are what a training's --dry-run says.
"""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from tools.benches import holes
from tools.benches.case import Case, Gauge, Goal, Race, Workplace
from tools.benches.step import TILE, TOLERANCE, inputs, networks, step

REPEATS = 20  # of a step or a product that are timed together
SIDE = 8192  # of the matrices whose product is as fast as the GPU can be


def settled(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Seconds of doing the work so many times, until the GPU is done."""
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def on_device(place: Workplace, device: torch.device):
    """Our network, the same compiled, the plain one, and what they get: frames (T 3 H W) and mask (T 1 H W)."""
    ours, plain = (network.to(device) for network in networks(place.tiny))
    clip = [tensor.to(device) for tensor in inputs(ours, 64 if place.tiny else TILE)]
    return ours, ours if place.tiny else torch.compile(ours), plain, clip


def prepare_step(place: Workplace, device: torch.device) -> Race:
    ours, fast, plain, clip = on_device(place, device)
    repeats = 1 if place.tiny else REPEATS

    def check() -> None:
        with torch.backends.cudnn.flags(allow_tf32=False):
            found, expected = step(ours, *clip), step(plain, *clip)
        assert (found - expected).abs().max() < TOLERANCE
        step(fast, *clip, torch.bfloat16)  # which compiles it
        step(plain, *clip, torch.float16)

    return Race(
        lambda: settled(lambda: step(fast, *clip, torch.bfloat16), device, repeats),
        lambda: settled(lambda: step(plain, *clip, torch.float16), device, repeats),
        check, repeats, "step",
    )  # fmt: skip


def prepare_utilisation(place: Workplace, device: torch.device) -> Gauge:
    ours, fast, _, clip = on_device(place, device)
    side, repeats = (128, 1) if place.tiny else (SIDE, REPEATS)
    matrix = torch.rand(side, side, device=device, dtype=torch.bfloat16)

    def measure() -> float:
        with FlopCounterMode(display=False) as counter:
            step(ours, *clip, torch.bfloat16)
        step(fast, *clip, torch.bfloat16)  # which compiles it
        settled(lambda: matrix @ matrix, device, 1)
        step_rate = repeats / settled(lambda: step(fast, *clip, torch.bfloat16), device, repeats)
        most = repeats * 2 * side**3 / settled(lambda: matrix @ matrix, device, repeats)
        gauge.notes["sequences"] = f"{step_rate:.3g} a second, without data, loss and optimizer"
        gauge.notes["operations"] = (
            f"{counter.get_total_flops():.3g} a step; a matrix product reaches {most:.3g} a second"
        )
        return 100 * counter.get_total_flops() * step_rate / most

    gauge = Gauge(measure)
    return gauge


def prepare_holes(place: Workplace, device: torch.device) -> Race:
    depth = holes.disparity(90 if place.tiny else 1080).to(device)
    how = (holes.DIVERGENCE, holes.CONVERGENCE, "right")

    def check() -> None:
        expected = holes.textbook_holes(depth, *how)
        assert expected.any() and torch.equal(holes.ours(depth), expected), "holes differ from the textbook's"

    return Race(
        lambda: settled(lambda: holes.ours(depth), device, 1),
        lambda: settled(lambda: holes.textbook_holes(depth, *how), device, 1),
        check, holes.FRAMES, "frame",
    )  # fmt: skip


def cases(device: torch.device) -> tuple[Case, ...]:
    return (
        Case(
            "gpu-step", f"a training step at {TILE}, compiled, bf16 / plain blocks, fp16", Goal(2),
            partial(prepare_step, device=device),
        ),
        Case(
            "gpu-utilisation", "operations of that step, of those that a matrix product does in its time", None,
            partial(prepare_utilisation, device=device), 3,
        ),
        Case(
            "gpu-holes", "masks of 1080p frames / pixels sorted by depth, both on the GPU", None,
            partial(prepare_holes, device=device),
        ),
    )  # fmt: skip


CASES = cases(torch.device("cuda")) if torch.cuda.is_available() else ()
