"""Random generators: each is a function of its purpose alone, not of the process or the time of the call."""

import hashlib

import numpy as np
import torch


def mix(*parts: int | str) -> int:
    """A 64-bit hash of all parts, the same on every machine."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator for parts such as (seed, epoch, slot, purpose)."""
    return torch.Generator().manual_seed(mix(*parts) >> 1)  # torch accepts 63 bits


def numpy_generator(*parts: int | str) -> np.random.Generator:
    """The same for numpy, with which the plan draws millions of numbers at once."""
    return np.random.Generator(np.random.Philox(key=mix(*parts)))
