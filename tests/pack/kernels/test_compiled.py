"""The cache of compiled loops, whatever state its disk is in."""

import importlib.util
import os

import numpy as np
import pytest

from pack.kernels import compiled

SOURCE = """
from pack.kernels.compiled import kernel

@kernel
def double(x):
    return 2 * x
"""


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """A function that imports a module with one compiled loop anew, as another process does, and its cache's files."""
    path = tmp_path / "loops.py"
    path.write_text(SOURCE)
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path / "cache"))

    def load():
        spec = importlib.util.spec_from_file_location("loops", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.double

    return load, lambda kind: sorted((tmp_path / "cache").rglob(f"*.{kind}"))


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("size", [0, 40])
def test_a_damaged_cache_is_compiled_anew_and_replaced(kind, size, loaded):
    load, files = loaded
    assert load()(2.0) == 4
    (file,) = files(kind)
    os.truncate(file, size)
    assert load()(2.0) == 4
    again = load()
    assert again(2.0) == 4 and sum(again.stats.cache_hits.values()) == 1


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError(30, "Read-only file system")])
def test_a_disk_that_cannot_be_written_only_costs_the_time_of_compiling(error, loaded, monkeypatch):
    load, files = loaded

    def failing(*_):
        raise error

    double = load()
    monkeypatch.setattr(double._cache._cache_file, "save", failing)
    assert double(np.float32(2)) == 4 and not files("nbc")


def test_without_any_folder_for_the_cache_loops_are_compiled_in_each_process(loaded, monkeypatch):
    def homeless(_):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(compiled, "Cache", homeless)
    assert loaded[0]()(2.0) == 4
