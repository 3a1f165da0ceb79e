"""Sums of gradients over two processes: DistributedDataParallel with our hook against one flat all-reduce."""

import statistics
import sys
import time
from collections.abc import Callable, Iterable
from datetime import timedelta

import torch
import torch.distributed as dist

from tools.benches.case import Case, Gauge, Goal, Workplace, run_program
from tools.benches.step import inputs, networks
from train.runtime.dist import Group, connect
from train.runtime.replicas import replicate

PROCESSES, ROUNDS, TILE = 2, 15, 120


def prepare(place: Workplace) -> Gauge:
    """How many times as long a training step with our hook takes, the median over steps in turns."""
    notes: dict[str, str] = {}

    def measure() -> float:
        words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", PROCESSES]
        out = run_program([*words, "-m", "tools.benches.replicas", int(place.tiny)], OMP_NUM_THREADS="1")
        ratio, *seconds = map(float, out.splitlines()[-1].split())
        names = ("step with the hook", "step with one all-reduce", "sums of the hook", "one all-reduce")
        notes.update({name: f"{second:.4f} s" for name, second in zip(names, seconds, strict=True)})
        return ratio

    return Gauge(measure, notes=notes)


def all_reduce_flat(parameters: Iterable[torch.nn.Parameter]) -> None:
    """One ring all-reduce of all gradients, as in a flat buffer."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, total in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(total.view(gradient.shape))


def seconds(work: Callable[[], object]) -> float:
    """Seconds of the work, which all processes begin together."""
    dist.barrier()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Print the ratio and seconds, see `prepare`; under torchrun."""
    tiny = bool(int(sys.argv[1]))
    connect("gloo", timedelta(minutes=10))
    group = Group(dist.get_rank(), dist.get_world_size(), torch.device("cpu"))
    network, _ = networks(tiny)
    replica, (frames, mask) = replicate(network, group), inputs(network, 64 if tiny else TILE)

    def step(forward: torch.nn.Module) -> None:
        network.zero_grad()
        (forward(frames, mask) - 0.3).abs().mean().backward()

    def plain() -> None:
        step(network)
        all_reduce_flat(network.parameters())

    for _ in range(2):  # DDP forms its buckets anew in the second
        step(replica)
        plain()
    flat = torch.cat([parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None])
    works = (
        lambda: step(replica),
        plain,
        lambda: group.sum_by_rank(flat.clone()),
        lambda: dist.all_reduce(flat.clone()),
    )
    turns = [[seconds(work) for work in works] for _ in range(2 if tiny else ROUNDS)]
    ratio = statistics.median(ours / theirs for ours, theirs, *_ in turns)
    if group.is_main:
        print(ratio, *map(statistics.median, zip(*turns, strict=True)))
    dist.destroy_process_group()


CASES = (
    Case(
        "replicas",
        f"a step on {PROCESSES} processes with sums in the order of ranks, as a multiple of one with one all-reduce",
        Goal(1.02, "x", at_most=True),
        prepare,
        3,
    ),
)

if __name__ == "__main__":
    main()
