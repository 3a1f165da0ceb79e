"""The lock of a model folder: one training at a time writes to it."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tools.cli import UserError
from tools.cli.files import is_at
from train.runtime.dist import Group

NAME = "training.lock"


@contextlib.contextmanager
def lock_folder(folder: Path, group: Group) -> Iterator[None]:
    """Inside the block no other training writes to the folder; the first process of the job holds the lock.

    The lock of a process that was killed is free. A folder that is created for the lock and still empty at the end is
    removed. Every process raises UserError when another training holds the lock, and then nothing has been written.
    """
    with contextlib.ExitStack() as stack:
        group.first(lambda: stack.enter_context(_held(folder)))
        yield


@contextlib.contextmanager
def _held(folder):
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _acquire(folder) as file:
            try:
                yield
            finally:
                Path(file.name).unlink(missing_ok=True)
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # it holds the results of the run
                folder.rmdir()


def _acquire(folder: Path) -> IO[str]:
    path = folder / NAME
    while True:
        file = open(path, "a+")
        try:
            # a lock of the process: one by flock would live on in data workers after the trainer was killed
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            owner = file.read(200).strip() or "another process"
            file.close()
            raise UserError(
                f"{folder} is in use by another training ({owner}): wait for its end, or pass another --model-dir"
            ) from None
        except OSError:  # a file system without locks
            pass
        if is_at(file, path):
            break
        file.close()  # its last owner has just deleted it
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file
