"""Locks that name their owner: one process at a time writes to a folder."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ModuleNotFoundError:  # Windows, where every program ends with one line before it locks a file
    fcntl = None

from tools.cli.errors import UserError
from tools.cli.files import is_at, naming

TICK = 0.5  # seconds between looks at a lock that another process holds
ATTEMPTS = 100  # to open a lock whose folder another process removes: one that cannot be created fails each time


@contextlib.contextmanager
def hold(
    path: Path, refusal: Callable[[str], str], note: str = "", wait: Callable[[str], bool] = lambda _: False
) -> Iterator[None]:
    """Inside the block no other process holds the lock file `path`, which names this one: process, host and `note`.

    The lock of a process that was killed is free; on a shared file system that of a machine that is gone becomes free
    after some time. While another process has the lock, `wait` is asked with its name whether to look again. The folder
    of the file is created for it, and removed if it is still empty at the end.

    Raises UserError with `refusal` of the owner when another process holds the lock; then nothing has been written.
    """
    is_new = not path.parent.exists()
    try:
        with _acquire(path, refusal, note, wait):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # it holds results
                path.parent.rmdir()


def patience(seconds: float, words: Callable[[str], str]) -> Callable[[str], bool]:
    """A `wait` of `hold` that looks again for so many seconds, and first prints `words` of the owner."""
    end = None

    def wait(owner: str) -> bool:
        nonlocal end
        if end is None:
            end = time.monotonic() + seconds
            print(words(owner), flush=True)
        if time.monotonic() >= end:
            return False
        time.sleep(TICK)
        return True

    return wait


def _acquire(path, refusal, note, wait):
    while isinstance(found := _lock(path), str):
        if not wait(found):
            raise UserError(refusal(found))
    with naming(path):
        found.truncate(0)
        found.write(f"process {os.getpid()} on {socket.gethostname()}{note}\n")
        found.flush()
    return found


def _open(path: Path) -> IO[str]:
    """The file in its folder, which its last owner may be removing at any moment."""
    for attempt in range(ATTEMPTS):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return open(path, "a+", errors="backslashreplace")
        except (FileNotFoundError, FileExistsError):  # the latter where it went while it was found to exist
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError


def _lock(path: Path) -> IO[str] | str:
    """The locked file, or who holds it."""
    while True:
        file = _open(path)
        try:
            # a lock of the process: one by flock would live on in workers after their process was killed
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            owner = file.read(400).strip() or "another process"
            file.close()
            return owner
        except OSError:  # a file system without locks
            pass
        if is_at(file, path):
            return file
        file.close()  # its last owner has just deleted it
