"""What the C library does with freed memory."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Let what this process frees wait for its next use; where the C library is not glibc, nothing happens.

    Otherwise each tensor above 32 MB comes in new pages from the system, which take a seventh of a step on a CPU.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)  # no block goes back by itself
        library.mallopt(M_TRIM_THRESHOLD, -1)  # and the heap does not shrink
