"""Chooses the device that a process computes on."""

import torch

from tools.cli import UserError, plural


def choose_device(name: str, turn: int = 0) -> torch.device:
    """The device of this name: auto, cpu, cuda or cuda:N.

    Without N, the `turn`-th process of a machine gets GPU turn % count. Raises UserError for a missing GPU.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not gpus):
        return torch.device("cpu")
    index = int(name.partition(":")[2] or turn % max(gpus, 1))
    if index >= gpus:
        raise UserError(f"--device {name}: found {plural(gpus, 'GPU')} that torch can use: pass --device cpu or auto")
    return torch.device("cuda", index)
