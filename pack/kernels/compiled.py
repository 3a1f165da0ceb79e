"""How loops over pixels are compiled, by numba where it is installed."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

HAS_NUMBA = importlib.util.find_spec("numba") is not None  # looked up, not imported: that takes a second


def kernel(function: Callable) -> Callable:
    """The function, compiled when it is first called. Whoever imports a module of kernels imports numba."""
    import numba

    # nogil and plain threads: numba's own threads end the process when two callers or a fork meet them
    cached = os.access(Path(__file__).parent, os.W_OK)
    return numba.njit(nogil=True, cache=cached, error_model="numpy")(function)
