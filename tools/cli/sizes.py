"""Sizes in bytes, as users write and read them."""

import re

from tools.cli.errors import UserError

PREFIXES = "KMGT"


def parse_size(flag: str, text: str) -> int:
    """The number of bytes in `text`, the value of `flag`: "1GB", "1G", "500 MB", "2GiB", "1000000".

    K, M, G and T are powers of 1000, with or without B; KiB, MiB, GiB and TiB are powers of 1024. Raises UserError.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(I?B)?|B)?", text.strip().upper())
    if not match:
        raise UserError(f"{flag} {text} is not a size: pass a number of bytes, or one with KB, MB, GB, TB or GiB")
    number, prefix, unit = match.groups()
    base = 1024 if unit == "IB" else 1000
    return int(float(number) * base ** (PREFIXES.index(prefix) + 1 if prefix else 0))


def format_size(count: float) -> str:
    """A number of bytes in words: "1.5 GB", "23 MB", "4 KB"."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} KB"
