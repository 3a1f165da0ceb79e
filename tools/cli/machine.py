"""The cores and the memory that this process has."""

import importlib.abc
import os
import sys
from pathlib import Path
from typing import Any

from tools.cli.errors import UserError
from tools.cli.sizes import format_size

TORCH_BYTES = 3_300_000_000  # of address space, that of the processor's build: with less, importing it aborts


class NoTorch(importlib.abc.MetaPathFinder):
    """Refuses to import PyTorch, with a UserError."""

    def __init__(self, limit: int):
        self.limit = limit

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "torch":
            raise UserError(
                f"PyTorch needs {format_size(TORCH_BYTES)} of address space to start, found a limit of "
                f"{format_size(self.limit)}: raise it (ulimit -v 8000000), or remove it"
            )


def guard_imports() -> None:
    """Let an import that would end this process without a word, for lack of address space, raise UserError instead."""
    import resource  # not on Windows

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < TORCH_BYTES:
        sys.meta_path.insert(0, NoTorch(limit))


def usable_cores() -> int:
    """Number of cores that this process may use: fewer than the machine has under Slurm and in containers."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Bytes of main memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak_memory() -> int:
    """Peak resident memory of this process so far, in bytes.

    On Linux ru_maxrss would include the memory of the parent at the time of the fork.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
