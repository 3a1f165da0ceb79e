"""The lock of a model folder: one training at a time writes to it."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tools.cli import UserError
from tools.cli.files import is_at
from train.runtime.dist import Group
from train.runtime.restarts import job_id

NAME = "training.lock"
PATIENCE = 120.0  # seconds; an NFS server frees the locks of a machine that is gone after 90


@contextlib.contextmanager
def lock_folder(folder: Path, group: Group) -> Iterator[None]:
    """Inside the block no other training writes to the folder; the first process of the job holds the lock.

    The lock of a process that was killed is free; on a shared file system that of a machine that is gone becomes free
    after some time, for which another start of the same torchrun job waits. A folder that is created for the lock and
    still empty at the end is removed. Every process raises UserError when another training holds the lock, and then
    nothing has been written.
    """
    with contextlib.ExitStack() as stack:
        patience = min(PATIENCE, group.watch.timeout / 2) if group.watch else PATIENCE  # the others wait meanwhile
        group.first(lambda: stack.enter_context(_held(folder, patience)))
        yield


@contextlib.contextmanager
def _held(folder, patience):
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _acquire(folder, patience) as file:
            try:
                yield
            finally:
                Path(file.name).unlink(missing_ok=True)
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # it holds the results of the run
                folder.rmdir()


def _acquire(folder: Path, patience: float) -> IO[str]:
    """The locked file. Raises UserError when another training holds it, another start of the same job for too long."""
    job = f" of job {job_id()}" if job_id() else ""
    found, end = _lock(folder / NAME), time.monotonic() + patience
    if isinstance(found, str) and job and found.endswith(job):
        print(f"waiting for an earlier start of this job, {found}, which still holds {folder}", flush=True)
        while isinstance(found, str) and time.monotonic() < end:
            time.sleep(0.5)
            found = _lock(folder / NAME)
    if isinstance(found, str):
        raise UserError(
            f"{folder} is in use by another training ({found}): wait for its end, or pass another --model-dir"
        )
    found.truncate(0)
    found.write(f"process {os.getpid()} on {socket.gethostname()}{job}\n")
    found.flush()
    return found


def _lock(path: Path) -> IO[str] | str:
    """The locked file, or who holds it."""
    while True:
        file = open(path, "a+", errors="backslashreplace")
        try:
            # a lock of the process: one by flock would live on in data workers after the trainer was killed
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
