"""The lock of a model folder: one training at a time writes to it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tools.cli.locks import hold, patience
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
        seconds = min(PATIENCE, group.watch.timeout / 2) if group.watch else PATIENCE  # the others wait meanwhile
        group.first(lambda: stack.enter_context(held(folder, seconds)))
        yield


def held(folder: Path, seconds: float) -> contextlib.AbstractContextManager[None]:
    """The lock, for which another start of the same job waits so many seconds at most."""
    job = f" of job {job_id()}" if job_id() else ""
    wait = patience(
        seconds, lambda owner: f"waiting for an earlier start of this job, {owner}, which still holds {folder}"
    )

    def refusal(owner: str) -> str:
        return f"{folder} is in use by another training ({owner}): wait for its end, or pass another --model-dir"

    return hold(folder / NAME, refusal, job, lambda owner: bool(job) and owner.endswith(job) and wait(owner))
