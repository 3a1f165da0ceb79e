"""Which pixels a change of view hides: the warps, and the curves that map depth to disparity."""

from typing import Any


def __getattr__(name: str) -> Any:
    """`from pack.holes import nonwarp_mask`, without torch for those who need the names of the curves alone."""
    if name == "nonwarp_mask":
        from pack.holes.forward import nonwarp_mask

        return nonwarp_mask
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
