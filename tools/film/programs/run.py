"""Runs the programs of this repository that are stages of a film."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tools.cli import UserError
from tools.cli.machine import usable_cores

ROOT = Path(__file__).resolve().parents[3]
TORCHRUN = "tools/film/programs/torchrun.py"
TICK = 0.5  # seconds between looks at a program that runs
PR_SET_PDEATHSIG = 1  # of Linux's prctl


def run(*words: object, processes: int = 1, enough: Callable[[], bool] = lambda: False) -> None:
    """Run a program of this repository until it ends, or until `enough`, asked every TICK seconds, ends it by SIGTERM.

    Several processes share the cores. Where the program fails, this process ends with its status: the program has
    printed why. Where this process is killed, the program ends too.
    """
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
    status = wait_for(process, enough)
    if status in (-signal.SIGKILL, 128 + signal.SIGKILL):
        raise UserError(
            f"{program} was killed, by somebody or by the system where memory ran out: what is finished stays, "
            "the same command continues"
        )
    if status:
        sys.exit(status if status > 0 else 128 - status)


def wait_for(process: subprocess.Popen, enough: Callable[[], bool]) -> int:
    """Wait until a program ends, or end it; its status, 0 where it was ended."""
    try:
        while True:
            try:
                return process.wait(TICK)
            except subprocess.TimeoutExpired:
                if enough():
                    process.terminate()
                    status = process.wait()
                    return 0 if status in (-signal.SIGTERM, 128 + signal.SIGTERM) else status
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def end_with_parent() -> Callable[[], None]:
    """What a new process does before its program starts: ask Linux for SIGTERM when this process ends, even killed."""
    prctl = ctypes.CDLL(None).prctl  # loaded before the fork, after which little is allowed
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
