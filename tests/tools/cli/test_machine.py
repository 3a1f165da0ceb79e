import os
import subprocess
import sys

import pytest

from tests.support import ROOT
from tests.support.programs import PROGRAMS
from tools.cli.machine import memory_bytes, usable_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no processor affinity")
def test_cores_that_the_process_may_not_use_do_not_count():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert usable_cores() == len(before)


def test_without_affinity_all_cores_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_cores() == 7


def test_memory_is_in_bytes():
    assert memory_bytes() > 2**28


LIMITED = """
import resource, sys
from tools import cli
def main():
    import {module}
    print("imported")
resource.setrlimit(resource.RLIMIT_AS, (200_000_000, 200_000_000))
cli.run(main)
"""


@pytest.mark.parametrize(("module", "line"), [("torch", "PyTorch needs 3.3 GB"), ("bisect", "")])
def test_a_limit_of_memory_that_pytorch_would_abort_at_is_one_line(module, line):
    words = [sys.executable, "-c", LIMITED.format(module=module)]
    found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=480)
    assert found.returncode == (2 if line else 0), found.stderr
    assert found.stderr.count("\n") == bool(line) and line in found.stderr


def test_no_program_loads_a_large_library_before_a_lack_of_memory_would_be_one_line():
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in PROGRAMS]
    code = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\n"
    code += "print([name for name in ('numpy', 'PIL', 'torch', 'av', 'cv2', 'numba') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=480)
    assert found.stdout == "[]\n", found.stderr
