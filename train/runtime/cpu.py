"""Settings of a process that computes on the CPU: how the C library handles freed memory, and what multiplies."""

import ctypes
import platform

import torch

from model.device import use_faster_products

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def prepare_cpu(device: torch.device) -> None:
    """Keep freed memory and use the faster library for matrix products; no effect on another device."""
    if device.type == "cpu":
        keep_freed_memory()
        use_faster_products()


def keep_freed_memory() -> None:
    """Keep freed memory in this process for reuse; only glibc is supported, otherwise this has no effect.

    By default the system provides new pages for each tensor above 32 MB, which takes a seventh of a step on a CPU.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)  # no block is returned on its own
        library.mallopt(M_TRIM_THRESHOLD, -1)  # the heap does not shrink
