"""The device that a process computes on, and whether it computes in bf16."""

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


def has_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bf16; without them bf16 is slower than fp32."""
    if device.type == "cuda":
        return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
    can = getattr(torch.cpu, "get_capabilities", dict)()  # not in every PyTorch that we run on
    return device.type == "cpu" and any(can.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
