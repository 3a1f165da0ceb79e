import ctypes
import platform
import subprocess
import sys

import pytest
import torch

from train.runtime import cpu
from train.runtime.cpu import keep_freed_memory

TURNS = """
import ctypes, resource, torch
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a huge page would count as one
from train.runtime.cpu import keep_freed_memory
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


@pytest.mark.parametrize("turn", [1, 2])
def test_no_test_chooses_the_library_of_products_for_the_next_one(turn):
    assert torch.get_float32_matmul_precision() == "highest"
    torch.set_float32_matmul_precision("medium")


@pytest.mark.parametrize("device", ["cpu", "cuda", "meta"])
def test_only_a_process_that_computes_on_the_cpu_is_changed(device, monkeypatch):
    called = []
    for name in ("keep_freed_memory", "use_faster_products"):
        monkeypatch.setattr(cpu, name, lambda name=name: called.append(name))
    cpu.prepare_cpu(torch.device(device))
    assert len(called) == (2 if device == "cpu" else 0)
