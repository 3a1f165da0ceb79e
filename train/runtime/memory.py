"""How the C library handles freed memory."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Keep freed memory in this process for reuse; only glibc is supported, otherwise this has no effect.

    By default the system provides new pages for each tensor above 32 MB, which takes a seventh of a step on a CPU.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)  # no block is returned on its own
        library.mallopt(M_TRIM_THRESHOLD, -1)  # the heap does not shrink
