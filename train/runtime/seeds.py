"""Where random numbers come from: a generator is a function of what it is for, never of who asks or when."""

import hashlib

import numpy as np
import torch


def mix(*parts: int | str) -> int:
    """A 64-bit number that depends on every part, the same on every machine."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator for (seed, epoch, slot, purpose)."""
    return torch.Generator().manual_seed(mix(*parts) >> 1)  # torch takes 63 bits


def numpy_generator(*parts: int | str) -> np.random.Generator:
    """The same for the plan, which draws millions of numbers at once."""
    return np.random.Generator(np.random.Philox(key=mix(*parts)))
