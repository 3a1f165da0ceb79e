"""How the sequences of an optimizer step are divided among processes and forward passes."""

import math

import torch

from tools.cli import UserError, plural
from train.config import Config
from train.runtime.dist import Group
from train.runtime.job import Passes

BYTES_PER_SEQUENCE = 6 * 10**9  # of a GPU's memory: more than a sequence of the largest network takes, in fp32


def check_shares(config: Config, world_size: int) -> None:
    """Raise UserError when the sequences of a step leave a process without work."""
    tiles = config.tiles_per_record
    if config.backward_step % tiles:
        raise UserError(
            f"--backward-step {config.backward_step} with {tiles} tiles per record: expected a multiple of {tiles}"
        )
    if config.backward_step // tiles < world_size:
        visits = f" with {tiles} tiles per record" if tiles > 1 else ""
        raise UserError(
            f"--backward-step {config.backward_step} counts sequences over all processes, found "
            f"{plural(world_size, 'process', 'processes')}{visits}: pass {world_size * tiles} or more in a new run, or "
            f"start fewer processes"
        )


def share_of(config: Config, rank: int, world_size: int) -> int:
    """The sequences of an optimizer step that a process computes; the first ranks may have one record more."""
    visits = config.backward_step // config.tiles_per_record
    return (visits // world_size + (rank < visits % world_size)) * config.tiles_per_record


def divide(config: Config, group: Group) -> Passes:
    """The passes of this process; a collective operation, because the memory of GPUs may differ."""
    sizes = pass_sizes(share_of(config, group.rank, group.world_size), choose_batch_size(config, group))
    counts = group.gather(torch.tensor(len(sizes)))
    return Passes(sizes, fewest=int(counts.min()), most=int(counts.max()))


def choose_batch_size(config: Config, group: Group) -> int:
    """Sequences of the largest forward pass of this process."""
    share = share_of(config, group.rank, group.world_size)
    return largest_batch(share, config.batch_size or sequences_that_fit(group.device))


def pass_sizes(share: int, limit: int) -> tuple[int, ...]:
    """The sequences of each pass: as few passes as `limit` sequences a pass allow, nearly equal, larger ones first."""
    passes = math.ceil(share / max(limit, 1))
    return tuple(share // passes + (number < share % passes) for number in range(passes))


def largest_batch(share: int, limit: int) -> int:
    """The sequences of the largest pass when a share of a step takes as few passes as `limit` sequences allow."""
    return pass_sizes(share, limit)[0]


def sequences_that_fit(device: torch.device) -> int:
    """How many sequences a pass may have by default: on a GPU by its memory, on a CPU 1.

    On a CPU 4 save a tenth of the time, and take 4 times the memory.
    """
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).total_memory // BYTES_PER_SEQUENCE
