"""How loops over pixels are compiled: by numba, when they are first called."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np

CACHED = os.access(Path(__file__).parent, os.W_OK)  # an installation that is read-only compiles anew in each process


def kernel(function: Callable) -> Callable:
    """The function, compiled when it is first called.

    It releases the GIL, and callers share work among plain threads: numba's own threads abort the process when two
    callers use them at once, or after a fork. A division by zero gives inf or nan, as in NumPy.
    """
    return numba.njit(nogil=True, cache=CACHED, error_model="numpy")(function)


def share(work: Callable[[slice], object], count: int, threads: int) -> None:
    """Call work(slice of the rows) on each thread, for `count` rows in all."""
    ends = np.linspace(0, count, threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, map(slice, ends[:-1], ends[1:])))
