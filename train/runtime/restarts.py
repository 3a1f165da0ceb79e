"""What a process of a job needs to know of torchrun, which starts the job again when machines leave or come."""

import os

from train.runtime.signals import Stop

PATIENCE = 10.0  # seconds; agents of torchrun ask a store once a second whether a machine wants to join
UNFINISHED = os.EX_TEMPFAIL  # status with which torchrun starts the processes of a machine again


def job_id() -> str:
    """torchrun's --rdzv-id, which all starts of a job share; empty where it names no job."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return "" if name == "none" else name  # torchrun's default


def status_at_end(stop: Stop, finished: bool) -> int:
    """The exit status of a process whose run has finished, or was stopped after a checkpoint.

    When a machine joins, each agent of torchrun stops its processes with SIGTERM. The first signal stops the training
    on all machines. To an agent that has not yet noticed the new machine, status 0 of its processes would be the end of
    the job. So a process that was not asked itself waits for its agent; if it is not asked, as after a signal to one
    machine alone, its status lets torchrun start it again, without that machine.
    """
    if finished or int(os.environ.get("GROUP_WORLD_SIZE", 1)) == 1 or stop.wait(PATIENCE):
        return 0
    return UNFINISHED
