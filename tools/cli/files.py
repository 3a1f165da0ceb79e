"""Atomic writes: a file gets its name only when all of it is on the disk."""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

FRESH = 60  # seconds: a temporary file that was written to so recently is never taken for a leftover


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[IO[bytes]]:
    """A file to write to. It is renamed to `path` when the block ends, and deleted when the block fails.

    Until then it is `NAME.PID.RANDOM.tmp` beside `path`, which no other process writes to. Such files of processes
    that were killed while they wrote the same `path` are deleted.

    Raises OSError, for example when the disk is full; `path` then still holds what it held before.
    """
    path = Path(path)
    remove_leftovers(path)
    temporary = temporary_path(path)
    try:
        with open(temporary, "xb") as file:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)  # tells other processes that the writer is alive
            yield file
            sync(file)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_file(path: str | Path, data: bytes | memoryview) -> None:
    """Write a small file atomically: `path` holds either all of `data` or what it held before. Raises OSError."""
    with whole_file(path) as file:
        file.write(data)


def temporary_path(path: Path) -> Path:
    """A name beside `path` that no other process and no other thread uses; it ends in `.tmp`."""
    return path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")


def remove_leftovers(path: Path) -> None:
    """Delete the temporary files of `path` whose writers no longer run. Files that cannot be locked are kept."""
    name = re.compile(re.escape(path.name) + r"\.\d+\.[0-9a-f]{8}\.tmp")
    for left in path.parent.glob("*.tmp"):
        if name.fullmatch(left.name):
            with contextlib.suppress(OSError), open(left, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while the writer holds its lock
                if time.time() - os.fstat(file.fileno()).st_mtime > FRESH:
                    left.unlink()


def sync(file: IO[bytes]) -> None:
    """Wait until everything written to `file` is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: str | Path) -> None:
    """Wait until new names and renames in `folder` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: str | Path) -> str:
    """The sha256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
