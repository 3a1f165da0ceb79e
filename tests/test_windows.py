"""On Windows itself every program ends with one line that names WSL2."""

import subprocess
import sys

import pytest

from tests.test_arrows import PROGRAMS, ROOT, name_of

# of what Python lacks on Windows, what a program of ours may use
SIGNAL_NAMES = "SIGUSR1 SIGALRM SIGKILL SIGHUP SIGQUIT SIGSTOP ITIMER_REAL setitimer pthread_kill pthread_sigmask"
OS_NAMES = "O_DIRECTORY O_NONBLOCK register_at_fork sched_getaffinity statvfs sysconf fork getuid geteuid killpg"
WITHOUT_POSIX = f"""
SIGNAL_NAMES, OS_NAMES = {SIGNAL_NAMES.split()}, {OS_NAMES.split()}
import os, runpy, signal, sys, types
for module, names in ((signal, SIGNAL_NAMES), (os, OS_NAMES)):
    for name in names:
        delattr(module, name)
sys.modules.update(dict.fromkeys(("fcntl", "resource")))  # importing them fails, as on Windows
import tools.cli.program
tools.cli.program.os = types.SimpleNamespace(name="nt", environ=dict())
sys.argv = [sys.argv[1]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("path", PROGRAMS, ids=name_of)
def test_a_program_on_windows_ends_with_one_line(path):
    done = subprocess.run([sys.executable, "-c", WITHOUT_POSIX, path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Windows is not supported") and done.stderr.count("\n") == 1
