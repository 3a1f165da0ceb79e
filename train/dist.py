"""The processes of a job: who this one is, and the few things that they tell each other.

Gradients are summed by hand in one flat all-reduce instead of torch's DistributedDataParallel: that regroups its
buckets after the first step, so sums come in another order after a resume and weights differ in their last bits.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Group:
    """This process among the `world` processes of the job."""

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Every process gets the sum of all processes' gradients, alike to the last bit."""
        if self.world == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch._utils._flatten_dense_tensors(gradients)
        dist.all_reduce(flat)
        for gradient, total in zip(gradients, torch._utils._unflatten_dense_tensors(flat, gradients), strict=True):
            gradient.copy_(total)

    def gather(self, values: torch.Tensor) -> torch.Tensor:  # CPU (...) -> (world ...)
        """The values of every process, by rank."""
        if self.world == 1:
            return values[None]
        rows = [torch.empty_like(values) for _ in range(self.world)]
        dist.all_gather(rows, values)
        return torch.stack(rows)

    def gather_objects(self, value: Any) -> list[Any]:
        """The value of every process, by rank."""
        if self.world == 1:
            return [value]
        values = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Whether it is so on any process."""
        return bool(self.gather(torch.tensor([flag])).any())

    def broadcast(self, value: Any) -> Any:
        """The first process's value, on every process."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    @contextlib.contextmanager
    def first_only(self) -> Iterator[bool]:
        """A block whose body only the first process runs (`with group.first_only() as first: if first: ...`).

        An OSError in it, such as a full disk, is raised on every process, so that all end alike.
        """
        failure = None
        try:
            yield self.leads
        except OSError as error:
            failure = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
        failure = self.broadcast(failure)
        if failure:
            raise OSError(failure)


@contextlib.contextmanager
def join(device: str) -> Iterator[Group]:
    """This process's place in the job that torchrun started, or a job of one."""
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: this machine has no GPU that torch can use: leave the flag out or pass cpu")
    chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(chosen)
    if world == 1:
        yield Group(0, 1, chosen)
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo")
    try:
        yield Group(rank, world, chosen)
    finally:
        dist.destroy_process_group()
