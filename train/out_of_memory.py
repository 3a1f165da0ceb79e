"""What a training says when a GPU has no memory left."""

import contextlib
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from tools.cli import UserError
from tools.cli.files import whole_file
from train.passes import largest_batch, share_of
from train.runtime.job import Job

GIB = 2**30
RECORDED = 3  # first steps whose allocations are recorded with their stack traces: most runs that fail, fail there
ENTRIES = 20_000  # allocations that are kept of them, several KB each


@contextlib.contextmanager
def explain_out_of_memory(job: Job, writes: bool = True) -> Iterator[Callable[[], None]]:
    """Inside the block the error of a full GPU becomes a UserError with its sizes and what to lower.

    Yields a function to call after each step. If it `writes`, a snapshot of the memory for PyTorch's viewer is left in
    --model-dir; it has stack traces when the error comes in the first steps.
    """
    steps = 0

    def after_step() -> None:
        nonlocal steps
        steps += 1
        if steps == RECORDED:
            record(job.group.device, False)

    record(job.group.device, writes)
    try:
        yield after_step
    except torch.OutOfMemoryError as error:
        path = job.folder / f"out_of_memory.{job.group.rank}.pickle"
        raise UserError(explanation(job, error, path if writes and write_snapshot(path) else None)) from error
    finally:
        record(job.group.device, False)


def record(device: torch.device, on: bool) -> None:
    """Record the allocations of a GPU with their Python stack traces, or stop recording."""
    if device.type == "cuda":
        torch.cuda.memory._record_memory_history("all" if on else None, stacks="python", max_entries=ENTRIES)


def write_snapshot(path: Path) -> bool:
    """Write a snapshot of the memory, which still holds the tensors of the failed step; False when it cannot be."""
    with contextlib.suppress(OSError), whole_file(path) as file:
        pickle.dump(torch.cuda.memory._snapshot(), file)
        return True
    return False


def explanation(job: Job, error: torch.OutOfMemoryError, snapshot: Path | None) -> str:
    """The line for the user: sizes, what the GPU held, and what to lower."""
    device, config = job.group.device, job.config
    free, total = torch.cuda.mem_get_info(device)
    others = total - free - torch.cuda.memory_reserved(device)
    tried = re.search(r"Tried to allocate ([\d.]+ \w+)", str(error))
    return (
        f"{device} is out of memory with --batch-size {job.passes.batch_size} and --tile {config.tile}: peak "
        f"{torch.cuda.max_memory_allocated(device) / GIB:.1f} of {total / GIB:.1f} GiB"
        + (f", {tried[1]} more were needed" if tried else "")
        + (f", other processes use {others / GIB:.1f} GiB" if others > total / 20 else "")
        + f": pass {', or '.join(advice(job))}, and --resume to continue"
        + (f"; {snapshot} is a memory snapshot for pytorch.org/memory_viz" if snapshot else "")
    )


def advice(job: Job) -> Iterator[str]:
    """What lowers the memory that a step needs, from what costs least."""
    config, share = job.config, share_of(job.config, job.group.rank, job.group.world_size)
    if job.passes.batch_size > 1:
        yield f"--batch-size {largest_batch(share, job.passes.batch_size - 1)}"
    if not config.checkpoint_blocks:
        yield "--checkpoint-blocks"
    if config.disable_amp:
        yield "no --disable-amp"
    if config.tile > 64:
        yield f"a --tile below {config.tile} in a new run"
