"""On Windows itself every program ends with one line that names WSL2."""

import subprocess
import sys

import pytest

from tests.test_arrows import PROGRAMS, ROOT, name_of

WITHOUT_POSIX = """
import runpy, sys, types
import tools.cli.program
tools.cli.program.os = types.SimpleNamespace(name="nt", environ={})
sys.modules.update(dict.fromkeys(("fcntl", "resource")))  # importing them fails, as on Windows
sys.argv = [sys.argv[1]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("path", PROGRAMS, ids=name_of)
def test_a_program_on_windows_ends_with_one_line(path):
    done = subprocess.run([sys.executable, "-c", WITHOUT_POSIX, path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Windows is not supported") and done.stderr.count("\n") == 1
