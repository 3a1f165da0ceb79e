"""Checks on what a file of torch.save holds, before any of it is used.

torch.load(weights_only=True) runs no code, but a small file can still hold compressed gigabytes, tensors of more
elements than it has bytes, and lists that contain each other and are endless when they are printed.
"""

from typing import Any

import torch

from tools.cli import UserError

DEEPEST = 64  # dicts and lists within each other
MOST_VALUES = 20_000_000  # in all dicts and lists, those that occur several times counted as often
CONTAINERS = (dict, list, tuple, set)
DTYPES = {
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128),
}


def check_payload(payload: dict[Any, Any]) -> None:
    """Raise UserError where a dict holds tensors other than dense ones of numbers, or is nested beyond measure."""
    counts: dict[int, int] = {}  # values in a container and all below it; 0 while it is counted
    pending: list[Any] = [payload]
    open_ones = 0
    while pending:
        value = pending[-1]
        if id(value) in counts:
            pending.pop()
            if counts[id(value)] == 0:
                counts[id(value)] = 1 + len(value) + sum(counts[id(part)] for part in _containers(value))
                open_ones -= 1
            continue
        counts[id(value)] = 0
        open_ones += 1
        inner = _containers(value)
        if open_ones > DEEPEST or any(counts.get(id(part)) == 0 for part in inner):
            raise UserError(f"it is nested deeper than {DEEPEST} levels")
        _check_tensors(value)
        pending += inner
    if counts[id(payload)] > MOST_VALUES:
        raise UserError(f"it holds more than {MOST_VALUES} values")


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether a tensor is dense, of numbers, in main memory, and has no more bytes than its storage."""
    return (
        tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.is_quantized or tensor.is_nested)
        and tensor.dtype in DTYPES
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )


def _containers(value):
    inner = (*value.keys(), *value.values()) if isinstance(value, dict) else value
    return [part for part in inner if isinstance(part, CONTAINERS)]


def _check_tensors(value):
    named = value.items() if isinstance(value, dict) else enumerate(value)
    for name, part in named:
        if isinstance(part, torch.Tensor) and not is_dense(part):
            raise UserError(f"{name!r:.60} is not a dense tensor of numbers")
        if isinstance(part, torch.UntypedStorage | torch.TypedStorage) or isinstance(name, torch.Tensor):
            raise UserError("it holds more than tensors and plain values")
