"""Zip files that others may have written (.npz, checkpoints): how much memory reading them takes."""

import zipfile

from tools.cli.errors import UserError


def check_stored(archive: zipfile.ZipFile, size: int) -> None:
    """Raise UserError where the members of an archive of `size` bytes are compressed, or have more bytes than it."""
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise UserError("its members are compressed, expected stored ones")
    if sum(member.file_size for member in members) > size:
        raise UserError(f"its members have more bytes together than its {size}")
