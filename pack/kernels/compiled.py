"""How loops over pixels are compiled: by numba, when they are first called."""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numba.core.caching import FunctionCache

from tools.cli import is_shortage


def kernel(function: Callable) -> Callable:
    """The function, compiled when it is first called; later processes find the compiled code in a cache.

    It releases the GIL, and callers share work among plain threads: numba's own threads abort the process when two
    callers use them at once, or after a fork. A division by zero gives inf or nan, as in NumPy.
    """
    compiled = numba.njit(nogil=True, error_model="numpy")(function)
    with contextlib.suppress(RuntimeError):  # of a user who can write neither to the installation nor to a home folder
        compiled._cache = Cache(function)  # type: ignore[attr-defined] # as numba itself does for cache=True
    return compiled


class Cache(FunctionCache):
    """numba's cache beside the source or in the user's folder, which may be damaged, full or read-only.

    numba itself then raises, also EOFError for a file that was empty after a loss of power: until it is deleted, no
    program would start.
    """

    def load_overload(self, *arguments: Any) -> Any:
        """The compiled code; None, and the function is compiled, where it is not in the cache or damaged there."""
        try:
            return super().load_overload(*arguments)
        except Exception as error:  # pickle raises many kinds for damaged bytes
            if is_shortage(error):
                raise
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, *arguments: Any) -> None:
        """Add compiled code, if the disk lets us."""
        with contextlib.suppress(OSError):
            super().save_overload(*arguments)


def share(work: Callable[[slice], object], count: int, threads: int) -> None:
    """Call work(slice of the rows) on each thread, for `count` rows in all."""
    ends = np.linspace(0, count, threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, map(slice, ends[:-1], ends[1:])))
