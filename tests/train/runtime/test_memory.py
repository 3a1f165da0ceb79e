import ctypes
import platform
import subprocess
import sys

import pytest

from train.runtime.memory import keep_freed_memory

TURNS = """
import resource, torch
from train.runtime.memory import keep_freed_memory
if {keep}:
    keep_freed_memory()
for count in ({floats}, {floats} * 7 // 8):  # glibc 2.36 wants some room beside an aligned block
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(count)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is configured")
@pytest.mark.parametrize("keep", [False, True])
def test_memory_that_a_tensor_frees_serves_another_without_new_pages(keep):
    size = 64 << 20  # more than glibc would ever keep
    code = TURNS.format(keep=keep, floats=size // 4)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    first, second = map(int, out.split())
    pages = size // 65536  # the largest that are usual, other than huge ones
    assert first > pages
    assert second < pages / 10 if keep else second > pages


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("a C library was loaded"))
    keep_freed_memory()
