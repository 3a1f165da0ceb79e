import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from pack.holes.mappers import NAMES, mapper
from tests.support import GOLDEN as GOLDEN_FOLDER
from tests.support import ROOT

GOLDEN = np.load(GOLDEN_FOLDER / "mappers.npz")
X = torch.from_numpy(GOLDEN["x"])


@pytest.mark.parametrize("name", [name for name in GOLDEN.files if name != "x"])
def test_every_curve_has_the_golden_values(name):
    torch.testing.assert_close(mapper(name)(X), torch.from_numpy(GOLDEN[name]), rtol=0, atol=5e-7)


def test_every_name_has_golden_values():
    assert set(NAMES) <= set(GOLDEN.files)


@pytest.mark.parametrize("name", NAMES)
def test_every_curve_increases_from_0_to_1(name):
    y = mapper(name)(X.double())
    assert abs(y[0]) < 1e-9 and abs(y[-1] - 1) < 1e-9
    assert (y.diff() > 0).all()


def test_a_chain_applies_the_first_curve_first():
    torch.testing.assert_close(mapper("pow2:div_1:mul_3")(X), mapper("mul_3")(mapper("div_1")(X**2)))


def test_a_mix_weights_the_second_curve_and_by_default_averages_both():
    torch.testing.assert_close(mapper("none+pow2=0.25")(X), 0.75 * X + 0.25 * X**2)
    for name in ("none+pow2", "none+pow2="):
        torch.testing.assert_close(mapper(name)(X), 0.5 * X + 0.5 * X**2)


def test_a_mix_of_weight_0_is_the_first_curve_and_of_weight_1_the_second():
    assert torch.equal(mapper("none+pow2=0")(X), X)
    assert torch.equal(mapper("none+pow2=1")(X), X**2)


def test_a_chain_may_contain_a_mix():
    torch.testing.assert_close(mapper("none+pow2=0.25:div_6")(X), mapper("div_6")(0.75 * X + 0.25 * X**2))


OUTSIDE = ["none+mul_1=x", "none+mul_1=nan", "none+mul_1=2", "none+mul_1=1.01", "none+mul_1=-0.01"]


@pytest.mark.parametrize("name", ["", "div_5", "none:", "none+", *OUTSIDE, "none+mul_1+mul_2=.5"])
def test_an_unknown_curve_is_a_one_line_error(name):
    with pytest.raises(ValueError, match=r"^mapper ") as error:
        mapper(name)
    assert "\n" not in str(error.value)


def test_curves_can_be_pickled():
    curve = pickle.loads(pickle.dumps(mapper("inv_mul_1+div_6=0.3:mul_1")))
    assert torch.equal(curve(X), mapper("inv_mul_1+div_6=0.3:mul_1")(X))


def test_a_name_is_checked_without_importing_torch():
    code = "import sys, pack.holes.mappers; pack.holes.mappers.mapper('div_6'); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
