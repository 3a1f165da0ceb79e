"""Settings of a process that computes on the CPU."""

import torch

from model.device import use_faster_products
from train.runtime.memory import keep_freed_memory


def prepare_cpu(device: torch.device) -> None:
    """Keep freed memory and use the faster library for matrix products; no effect on another device."""
    if device.type == "cpu":
        keep_freed_memory()
        use_faster_products()
