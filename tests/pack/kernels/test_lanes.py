import numpy as np
import pytest

from pack.kernels.compiled import kernel
from pack.kernels.lanes import LANES, WINDOW, blends, has_lanes, pairs


@kernel
def _usable():
    return has_lanes()


@kernel
def _pairs(values, columns, lows, highs):
    return pairs(values, columns, 0, lows, highs)


@kernel
def _blends(rows, columns, weights, out):
    return blends(rows, columns, weights, 0, out)


@pytest.mark.parametrize("first, spread", [(0, 1), (0, 30), (3, 30), (3, 31), (3, 60), (99, 30), (70, 28), (68, 31)])
def test_columns_near_each_other_are_read_and_others_refused(first, spread):
    if not _usable():
        pytest.skip("this processor has no AVX-512")
    gen = np.random.default_rng(0)
    rows, weights = gen.random((3, 100), np.float32), gen.random(LANES, np.float32)
    columns = np.minimum(first + np.linspace(0, spread, LANES).astype(np.uint32), 99).astype(np.uint32)
    after = np.minimum(columns + 1, 99)
    start = min(first, 100 - WINDOW)
    near = after.max() - start < WINDOW
    lows, highs, out = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32), np.zeros((3, LANES), np.float32)
    assert _pairs(rows[0], columns, lows, highs) == near and _blends(rows, columns, weights, out) == near
    expected = rows[:, columns] * (1 - weights) + rows[:, after] * weights
    assert np.array_equal(lows, rows[0, columns] * near) and np.array_equal(highs, rows[0, after] * near)
    assert np.array_equal(out, expected * near)
