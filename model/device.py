"""Which device a process computes on."""

import torch

from tools.cli import UserError, plural


def choose_device(name: str, turn: int = 0) -> torch.device:
    """The device called name: auto, cpu, cuda or cuda:N.

    Without a number, processes of a machine take its GPUs in turn. Raises UserError for a GPU that is not there.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not gpus):
        return torch.device("cpu")
    index = int(name.partition(":")[2] or turn % max(gpus, 1))
    if index >= gpus:
        raise UserError(f"--device {name}: found {plural(gpus, 'GPU')} that torch can use: pass --device cpu or auto")
    return torch.device("cuda", index)
