"""--deterministic: two equal runs end with equal bits, also on a GPU."""

import os

import torch


def use_deterministic_algorithms() -> None:
    """Let torch use deterministic algorithms alone; call it before anything is computed on a GPU.

    An operation that has none raises a RuntimeError that names it.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(True)
    # nothing here reads memory that was never written; torch does not declare the name
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False  # which may choose another algorithm in each process
