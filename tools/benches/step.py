"""A training step of the network: ours against the same blocks written plainly, in time and memory.

T frames (12), H height and W width of the tile.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from model.device import has_bf16, use_faster_products
from model.light_video_inpaint import LightVideoInpaint
from tools.benches.case import Case, Gauge, Goal, Race, Workplace, run_program
from tools.benches.plain_network import PlainNetwork
from tools.cli.machine import peak_memory
from train.runtime.cpu import keep_freed_memory

FRAMES, TILE, CHEAP = 12, 256, 248  # CHEAP is padded to 256, 256 to 320
STEPS = 5  # timed together
TOLERANCE = 2e-5


def networks(tiny: bool) -> tuple[LightVideoInpaint, PlainNetwork]:
    """Ours and the plain one, with the same weights."""
    kwargs: dict[str, Any] = {"base_dim": 16 if tiny else 96, "lv2_mlp_ratio": 1}
    ours = LightVideoInpaint(**kwargs, generator=torch.Generator().manual_seed(0))
    plain = PlainNetwork(**kwargs)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def inputs(network: LightVideoInpaint, size: int) -> tuple[Tensor, Tensor]:  # -> (T 3 H W), (T 1 H W)
    """Random frames and holes of blocks of 8 pixels, preprocessed for the network."""
    gen = torch.Generator().manual_seed(1)
    holes = torch.rand(FRAMES, 1, size // 8, size // 8, generator=gen) > 0.9
    holes = holes.repeat_interleave(8, -1).repeat_interleave(8, -2)
    return network.preprocess(torch.rand(FRAMES, 3, size, size, generator=gen), holes)


def step(network: nn.Module, frames: Tensor, holes: Tensor, half: torch.dtype | None = None) -> Tensor:
    """Forward, in fp32 or half precision, and backward with a loss that takes almost no time. Returns the output."""
    network.zero_grad()
    with torch.autocast(frames.device.type, half, enabled=half is not None):
        output = network(frames, holes)
    (output.float() - 0.3).abs().mean().backward()
    return output.detach()


def prepare(
    size: int, plain_size: int, half: torch.dtype | None = None, both: bool = False
) -> Callable[[Workplace], Race]:
    """Ours, in half precision if given, against the plain blocks; with `both` under the same conditions.

    These are half precision for the plain blocks too, and freed memory that is kept, as in training.
    """

    def ready(place: Workplace) -> Race:
        if both:
            keep_freed_memory()
        ours, plain = networks(place.tiny)
        tiles = (48, 64) if place.tiny else (size, plain_size)
        mine, theirs = (inputs(ours, tile) for tile in tiles)

        def check():
            found, expected = step(ours, *mine), step(plain, *mine)
            assert (found - expected).abs().max() < TOLERANCE
            for weight, other in zip(ours.parameters(), plain.parameters(), strict=True):
                assert (weight.grad - other.grad).abs().max() < 20 * TOLERANCE * other.grad.abs().max()

        return Race(
            lambda: step(ours, *mine, half), lambda: step(plain, *theirs, half if both else None), check, 1, "step"
        )

    return ready


def products(place: Workplace) -> Race:
    """Ours in fp32 with the library that training multiplies matrices with on this processor, against MKL."""
    before = torch.get_float32_matmul_precision()
    use_faster_products()
    faster = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(before)
    keep_freed_memory()
    ours, _ = networks(place.tiny)
    mine = inputs(ours, 48 if place.tiny else TILE)

    def step_with(precision: str) -> Tensor:
        torch.set_float32_matmul_precision(precision)
        output = step(ours, *mine)
        torch.set_float32_matmul_precision(before)
        return output

    def check() -> None:
        assert (step_with(faster) - step_with(before)).abs().max() < TOLERANCE

    return Race(lambda: step_with(faster), lambda: step_with(before), check, 1, "step")


def memory(who: str, reference: str) -> Callable[[Workplace], Gauge]:
    """Peak memory that a step adds, in a process of its own, in percent of the reference's.

    The C library is told to return freed memory at once, so that only memory in use is counted.
    """
    return lambda place: Gauge(lambda: 100 * grown(who, place.tiny) / grown(reference, place.tiny))


def kept(place: Workplace) -> Gauge:
    """Time of a step in a process that keeps freed memory, in percent of the time in one that does not."""

    def seconds(word: str) -> float:
        return float(run_program(["-m", "tools.benches.step", word, int(place.tiny)]).splitlines()[-1])

    return Gauge(lambda: 100 * seconds("kept") / seconds("not kept"))


def grown(who: str, tiny: bool) -> int:
    """Bytes of peak memory that a step adds, measured in a process of its own: see `main`."""
    out = run_program(["-m", "tools.benches.step", who, int(tiny)], MALLOC_MMAP_THRESHOLD_="262144")
    return int(out.splitlines()[-1])


def main() -> None:
    """Print by how many bytes a step of "ours", "ours recomputed" or "plain" increases the peak memory of this process.

    For "kept" and "not kept" (freed memory), print the seconds of a step.
    """
    who, tiny = sys.argv[1], bool(int(sys.argv[2]))
    ours, plain = networks(tiny)
    frames, holes = inputs(ours, 128 if tiny else TILE)
    if who in ("kept", "not kept"):
        if who == "kept":
            keep_freed_memory()
        step(ours, frames, holes)
        started = time.perf_counter()
        for _ in range(STEPS):
            step(ours, frames, holes)
        print((time.perf_counter() - started) / STEPS)
        return
    network = plain if who == "plain" else ours
    ours.checkpoint_blocks = who == "ours recomputed"
    step(network, *inputs(ours, 64))  # loads the libraries, whose size does not belong to the network
    before = peak_memory()
    step(network, frames, holes)
    print(peak_memory() - before)


CASES = (
    Case("step", f"training step at {TILE} px / plain blocks, fp32", Goal(1.3), prepare(TILE, TILE)),
    Case(
        "step-both-kept",
        f"training step at {TILE} px / plain blocks, fp32, both keep freed memory",
        Goal(1.3),
        prepare(TILE, TILE, both=True),
    ),
    *(
        [
            Case(
                "step-bf16",
                f"training step at {TILE} px, bf16 / plain blocks, fp32",
                Goal(2),
                prepare(TILE, TILE, torch.bfloat16),
            ),
            Case(
                "step-both-bf16",
                f"training step at {TILE} px / plain blocks, both bf16, both keep freed memory",
                Goal(1.3),
                prepare(TILE, TILE, torch.bfloat16, both=True),
            ),
        ]
        if has_bf16(torch.device("cpu"))  # on other CPUs bf16 is slower than fp32, and training does not use it
        else []
    ),
    Case(
        "step-tile-248", f"training step at {CHEAP} px / plain blocks at {TILE} px, fp32", Goal(2), prepare(CHEAP, TILE)
    ),
    Case(
        "step-products",
        f"training step at {TILE} px, fp32, matrices multiplied as in training / by MKL",
        None,
        products,
    ),
    Case(
        "step-memory",
        "peak memory of a step, in percent of the plain blocks",
        Goal(67, "%", at_most=True),
        memory("ours", "plain"),
        3,
    ),
    Case(
        "step-recomputed",
        "peak memory of a step with --checkpoint-blocks, in percent of without",
        None,
        memory("ours recomputed", "ours"),
        3,
    ),
    Case(
        "step-kept",
        "time of a step that keeps freed memory, as in training, in percent of one that does not",
        None,
        kept,
        3,
    ),
)

if __name__ == "__main__":
    main()
