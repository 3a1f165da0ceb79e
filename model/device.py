"""The device that a process computes on, whether it computes in bf16, and which library multiplies matrices."""

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


def must_be_deterministic(x: torch.Tensor) -> bool:
    """Whether the tensor is on a GPU with deterministic algorithms alone, which some operations lack there."""
    return x.is_cuda and torch.are_deterministic_algorithms_enabled()


def use_faster_products() -> None:
    """Let oneDNN multiply fp32 matrices in this process where it is faster than MKL and as exact: AMD with AVX-512.

    There MKL takes about twice as long. PyTorch chooses oneDNN only where bf16 is allowed inside fp32 products, which
    oneDNN uses only with AMX; so a product that bf16 would round decides whether the setting stays.
    """
    can = getattr(torch.cpu, "get_capabilities", dict)()
    if not ("AMD" in can.get("cpu_name", "") and can.get("avx512_bw")):
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    if not _are_products_exact():
        torch.set_float32_matmul_precision(before)


def _are_products_exact():
    values = torch.linspace(1, 2, 64 * 64).view(64, 64)  # fewer are multiplied without oneDNN
    return torch.equal(values @ torch.eye(64), values)
