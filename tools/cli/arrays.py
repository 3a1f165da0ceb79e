"""Zip files that others may have written and that may be damaged: arrays of .npz, checkpoints."""

import math
import zipfile

import numpy as np
from numpy.lib.npyio import NpzFile

from tools.cli.errors import UserError


def read_member(archive: NpzFile, name: str) -> np.ndarray:
    """The array of this name. Raises ValueError where its shape needs other bytes than the file has.

    numpy asks for the memory of the whole shape before it finds that bytes are missing, which a reader could not tell
    from a real lack of memory.
    """
    (size,) = {member.file_size for member in archive.zip.infolist() if member.filename in (name, f"{name}.npy")}
    with archive.zip.open(name if name in archive.zip.namelist() else f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        found = size - file.tell()
    needed = math.prod(shape) * dtype.itemsize
    if not 0 <= needed <= found:
        raise ValueError(f"{needed:,} bytes by its shape {shape}, found {found:,}")
    return archive[name]


def check_stored(archive: zipfile.ZipFile, size: int) -> None:
    """Raise UserError where the members of an archive of `size` bytes are compressed, or have more bytes than it."""
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise UserError("its members are compressed, expected stored ones")
    if sum(member.file_size for member in members) > size:
        raise UserError(f"its members have more bytes together than its {size}")
