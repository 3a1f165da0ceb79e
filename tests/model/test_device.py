import pytest
import torch

from model import device
from model.device import use_faster_products

AMD = {"cpu_name": "AMD EPYC", "avx512_bw": True}


@pytest.fixture
def precision():
    """How torch may compute inside fp32 products; restored after the test."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield torch.get_float32_matmul_precision
    torch.set_float32_matmul_precision(before)


def test_products_stay_those_of_fp32_whatever_the_processor(precision, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: AMD)
    gen = torch.Generator().manual_seed(0)
    a, b = torch.randn(256, 96, generator=gen), torch.randn(96, 512, generator=gen)
    use_faster_products()
    assert ((a @ b).double() - a.double() @ b.double()).abs().max() < 1e-4  # bf16 is off by 0.1


@pytest.mark.parametrize("can", [{"cpu_name": "Intel", "avx512_bw": True}, {"cpu_name": "AMD EPYC"}, {}])
def test_other_processors_keep_their_library(can, precision, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)
    use_faster_products()
    assert precision() == "highest"


@pytest.mark.parametrize("exact", [True, False])
def test_the_other_library_is_used_only_where_its_products_are_exact(exact, precision, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: AMD)
    monkeypatch.setattr(device, "_are_products_exact", lambda: exact)
    use_faster_products()
    assert precision() == ("medium" if exact else "highest")


def test_products_that_bf16_rounds_are_not_exact():
    assert device._are_products_exact()
    with torch.autocast("cpu", torch.bfloat16):
        assert not device._are_products_exact()
