"""How the sequences of an optimizer step are divided among processes and forward passes."""

import torch

from tools.cli import UserError, plural
from train.config import Config
from train.runtime.dist import Group

BYTES_PER_SEQUENCE = 6 * 10**9  # of a GPU's memory: more than a sequence of the largest network takes, in fp32


def check_shares(config: Config, world_size: int) -> None:
    """Raise UserError when the sequences of a step cannot be divided evenly among the processes."""
    tiles = config.tiles_per_record
    if config.backward_step % (world_size * tiles):
        visits = f" with {tiles} tiles per record" if tiles > 1 else ""
        raise UserError(
            f"--backward-step {config.backward_step} counts sequences over all processes, found "
            f"{plural(world_size, 'process', 'processes')}{visits}: expected a multiple of {world_size * tiles}"
        )


def choose_batch_size(config: Config, group: Group) -> int:
    """Sequences of a forward pass. Raises UserError when --batch-size does not divide what a process has of a step."""
    share = config.backward_step // group.world_size
    if not config.batch_size:
        return largest_batch(share, sequences_that_fit(group.device))
    if share % config.batch_size:
        raise UserError(
            f"--batch-size {config.batch_size} does not divide the {plural(share, 'sequence')} that each of "
            f"{plural(group.world_size, 'process', 'processes')} has of --backward-step {config.backward_step}: "
            f"pass --batch-size {largest_batch(share, config.batch_size)}"
        )
    return config.batch_size


def largest_batch(share: int, limit: int) -> int:
    """The largest divisor of a process's share of a step that is at most `limit`; 1 if there is none."""
    return max(size for size in range(1, share + 1) if share % size == 0 and size <= max(limit, 1))


def sequences_that_fit(device: torch.device) -> int:
    """How many sequences a pass may have by default: on a GPU by its memory, on a CPU 1.

    On a CPU 4 save a tenth of the time, and take 4 times the memory.
    """
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).total_memory // BYTES_PER_SEQUENCE
