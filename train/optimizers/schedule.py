"""Learning rate and weight decay as pure functions of the epoch, so that resuming needs no scheduler state.

Schedule-free optimizers do not use them: their rates stay as create_optimizer sets them.
"""

import math
from typing import NamedTuple

from torch.optim import Optimizer

from train.config import cycle_length

MAX_FIXED_WEIGHT_DECAY = 65000.0


class Rates(NamedTuple):
    """Learning rate and weight decay of one epoch."""

    learning_rate: float
    weight_decay: float


def schedule(
    name: str,
    epoch: int,
    *,
    max_epoch: int,
    learning_rate: float,
    weight_decay: float,
    cycles: int = 5,
    min_learning_rate: float = 1e-8,
    weight_decay_end: float = 0.01,
    decay_steps: tuple[int, ...] = (1,),
    decay: float = 0.99,
    warmup_epochs: int = 0,
    warmup_learning_rate: float = 1e-6,
) -> Rates:
    """The rates of an epoch, counted from 1; `name` is cosine_wd, cosine, cosine_fixed_wd or step.

    cosine*: `cycles` cosine cycles from learning_rate to min_learning_rate (SGDR, Loshchilov and Hutter 2017).
    cosine_wd raises the weight decay to weight_decay_end as the rate falls; cosine_fixed_wd keeps rate times weight
    decay constant. step: multiplies the rate by `decay` every decay_steps[0] epochs or, if there are several
    decay_steps, after each of these epochs.
    """
    if name == "step":
        rates = Rates(learning_rate * decay ** _decays(epoch - 1, decay_steps), weight_decay)
    elif name in ("cosine", "cosine_wd", "cosine_fixed_wd"):
        period = cycle_length(max_epoch, cycles)
        angle = math.pi * ((epoch - 1) % period) / period
        rate = min_learning_rate + (learning_rate - min_learning_rate) * (1 + math.cos(angle)) / 2
        if name == "cosine_wd":
            fallen = 1 - max(rate - min_learning_rate, 0) / learning_rate
            weight_decay = weight_decay + (weight_decay_end - weight_decay) * fallen
        elif name == "cosine_fixed_wd":
            weight_decay = min(weight_decay / rate, MAX_FIXED_WEIGHT_DECAY)
        rates = Rates(rate, weight_decay)
    else:
        raise ValueError(f"scheduler {name!r} is unknown, expected cosine_wd, cosine, cosine_fixed_wd or step")
    # as in iw3, the weight decay follows the scheduled rate, which the warm-up only replaces
    return rates._replace(learning_rate=warmup_learning_rate) if epoch <= warmup_epochs else rates


def apply(optimizer: Optimizer, rates: Rates) -> None:
    """Set the optimizer's rates; parameter groups without weight decay keep none."""
    for group in optimizer.param_groups:
        group["lr"] = rates.learning_rate
        if group["weight_decay"] != 0:
            group["weight_decay"] = rates.weight_decay


def _decays(epochs_done: int, decay_steps: tuple[int, ...]) -> int:
    if len(decay_steps) == 1:
        return epochs_done // decay_steps[0]
    return sum(step <= epochs_done for step in decay_steps)
