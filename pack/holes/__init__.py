"""The pixels that a change of view hides: warps, and the curves that map depth to disparity."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Makes `from pack.holes import nonwarp_mask` work without importing torch when only `mappers` is needed."""
    if name == "nonwarp_mask":
        from pack.holes.forward import nonwarp_mask

        return nonwarp_mask
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
