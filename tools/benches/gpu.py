"""Cases on a GPU: a training step and holes against plain references, and the utilisation of a step.

Without a GPU there are no such cases. Sequences per second with data and evaluation are printed by --dry-run.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from model.light_video_inpaint import LightVideoInpaint
from tools.benches import holes
from tools.benches.case import Case, Gauge, Goal, Race, Workplace
from tools.benches.plain_network import PlainNetwork
from tools.benches.step import TILE, TOLERANCE, inputs, networks, step

REPEATS = 20  # steps or products that are timed together
SIDE = 8192  # of square matrices whose product reaches the peak throughput of the GPU


def settled(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Seconds of `repeats` calls, until the GPU has finished."""
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def on_device(
    place: Workplace, device: torch.device
) -> tuple[LightVideoInpaint, torch.nn.Module, PlainNetwork, tuple[torch.Tensor, torch.Tensor]]:
    """Our network, the same compiled, the plain one, and their inputs: frames (T 3 H W) and mask (T 1 H W)."""
    ours, plain = networks(place.tiny)
    ours, plain = ours.to(device), plain.to(device)
    frames, holes = inputs(ours, 64 if place.tiny else TILE)
    fast = ours if place.tiny else cast(torch.nn.Module, torch.compile(ours))
    return ours, fast, plain, (frames.to(device), holes.to(device))


def prepare_step(place: Workplace, device: torch.device) -> Race:
    ours, fast, plain, clip = on_device(place, device)
    repeats = 1 if place.tiny else REPEATS

    def check() -> None:
        with torch.backends.cudnn.flags(allow_tf32=False):
            found, expected = step(ours, *clip), step(plain, *clip)
        assert (found - expected).abs().max() < TOLERANCE
        step(fast, *clip, half=torch.bfloat16)  # compiles it
        step(plain, *clip, half=torch.float16)

    return Race(
        lambda: settled(lambda: step(fast, *clip, half=torch.bfloat16), device, repeats),
        lambda: settled(lambda: step(plain, *clip, half=torch.float16), device, repeats),
        check, repeats, "step",
    )  # fmt: skip


def prepare_utilisation(place: Workplace, device: torch.device) -> Gauge:
    ours, fast, _, clip = on_device(place, device)
    side, repeats = (128, 1) if place.tiny else (SIDE, REPEATS)
    matrix = torch.rand(side, side, device=device, dtype=torch.bfloat16)

    def measure() -> float:
        with FlopCounterMode(display=False) as counter:
            step(ours, *clip, half=torch.bfloat16)
        step(fast, *clip, half=torch.bfloat16)  # compiles it
        settled(lambda: matrix @ matrix, device, 1)
        step_rate = repeats / settled(lambda: step(fast, *clip, half=torch.bfloat16), device, repeats)
        peak = repeats * 2 * side**3 / settled(lambda: matrix @ matrix, device, repeats)
        gauge.notes["sequences"] = f"{step_rate:.3g} per second, without data, loss and optimizer"
        gauge.notes["operations"] = (
            f"{counter.get_total_flops():.3g} per step; a matrix product reaches {peak:.3g} per second"
        )
        return 100 * counter.get_total_flops() * step_rate / peak

    gauge = Gauge(measure)
    return gauge


def prepare_holes(place: Workplace, device: torch.device) -> Race:
    depth = holes.disparity(90 if place.tiny else 1080).to(device)
    how = (holes.DIVERGENCE, holes.CONVERGENCE, "right")

    def check() -> None:
        expected = holes.textbook_holes(depth, *how)
        assert expected.any() and torch.equal(holes.ours(depth), expected), "the holes differ from the reference"

    return Race(
        lambda: settled(lambda: holes.ours(depth), device, 1),
        lambda: settled(lambda: holes.textbook_holes(depth, *how), device, 1),
        check, holes.FRAMES, "frame",
    )  # fmt: skip


def cases(device: torch.device) -> tuple[Case, ...]:
    """The cases on this device."""
    return (
        Case(
            "gpu-step", f"training step at {TILE} px, compiled, bf16 / plain blocks, fp16", Goal(2),
            partial(prepare_step, device=device),
        ),
        Case(
            "gpu-utilisation", "arithmetic throughput of that step, relative to a large matrix product", None,
            partial(prepare_utilisation, device=device), 3,
        ),
        Case(
            "gpu-holes", "hole masks of 1080p frames / pixels sorted by depth, both on the GPU", None,
            partial(prepare_holes, device=device),
        ),
    )  # fmt: skip


CASES = cases(torch.device("cuda")) if torch.cuda.is_available() else ()
