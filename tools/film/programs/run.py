"""Runs the programs of this repository that are stages of a film."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tools.cli import UserError
from tools.cli.locks import hold, patience
from tools.cli.machine import usable_cores

ROOT = Path(__file__).resolve().parents[3]
TORCHRUN = "tools/film/programs/torchrun.py"
TICK = 0.5  # seconds between looks at a program that runs
PATIENCE = 120.0  # seconds for the end of a program of an earlier command; a training writes a checkpoint before
CONTINUES = "what is finished stays, the same command continues"
PR_SET_PDEATHSIG = 1  # of Linux's prctl


def run(*words: object, processes: int = 1, lock: Path | None = None, enough: Callable[[], bool] | None = None) -> None:
    """Run a program of this repository until it ends.

    With `enough`, asked every TICK seconds, it runs until that ends it by SIGTERM. Several processes share the cores.
    Where the program fails, this process ends with its status: the program has printed why. Where this process is
    killed, the program ends too, and the next command waits until it has released its `lock`.

    Raises UserError where somebody else ended the program.
    """
    if lock:
        await_release(lock)
    program, *flags = map(str, words)
    command, environment = [str(ROOT / program), *flags], dict(os.environ)
    if processes > 1:
        command = [str(ROOT / TORCHRUN), "--standalone", "--nproc-per-node", str(processes), *command]
        environment.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    # a Ctrl-C of the terminal must not reach several processes twice, from it and from torchrun
    process = subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        start_new_session=processes > 1,
        preexec_fn=end_with_parent(),
    )
    status, was_enough = wait_for(process, enough or (lambda: False))
    if status in (-signal.SIGKILL, 128 + signal.SIGKILL):
        raise UserError(f"{program} was killed, by somebody or by the system where memory ran out: {CONTINUES}")
    if status < 0:
        raise UserError(f"{program} was ended by {signal.Signals(-status).name}: {CONTINUES}")
    if enough and not status and not was_enough:
        raise UserError(f"{program} was stopped by somebody: {CONTINUES}")
    if status:
        sys.exit(status)


def await_release(lock: Path) -> None:
    """Wait for the end of a program that an earlier command started. Raises UserError where it does not come."""

    def refusal(owner: str) -> str:
        return f"{lock.parent} is in use ({owner}): end it, the same command then continues"

    with hold(lock, refusal, wait=patience(PATIENCE, lambda owner: f"waiting for {owner}, which has {lock.parent}")):
        pass


def wait_for(process: subprocess.Popen, enough: Callable[[], bool]) -> tuple[int, bool]:
    """Wait until a program ends, or end it; its status, 0 where it was ended, and whether it was enough."""
    try:
        while True:
            try:
                return process.wait(TICK), enough()
            except subprocess.TimeoutExpired:
                if enough():
                    process.terminate()
                    status = process.wait()
                    return 0 if status in (-signal.SIGTERM, 128 + signal.SIGTERM) else status, True
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def end_with_parent() -> Callable[[], None]:
    """What a new process does before its program starts: ask Linux for SIGTERM when this process ends, even killed."""
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()  # loaded before the fork, after which little is allowed

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was killed before this process asked
            os._exit(128 + signal.SIGTERM)

    return ask
