"""Compiled filters and tensor operations give the same results, to the last bit, and those of PyTorch's own filters."""

import pytest
import torch
import torch.nn.functional as F

from pack.kernels import filters
from pack.kernels.filters import box_filter, least_cost, max_filter, smooth

SIZES = [(2, 3, 33, 47), (1, 1, 1, 20), (2, 1, 20, 1), (1, 2, 5, 4)]


def random_image(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def by_both_methods(monkeypatch, work):
    """The result of the compiled filter and that of tensor operations."""
    compiled = work()
    monkeypatch.setattr(filters, "uses_rows", lambda *_: False)
    return compiled, work()


@pytest.fixture(params=["rows", "tensors"])
def method(request, monkeypatch):
    """Each of the two methods: compiled rows, and tensor operations as on a GPU."""
    if request.param == "tensors":
        monkeypatch.setattr(filters, "uses_rows", lambda *_: False)
    return request.param


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("radius", [1, 3, 6])
def test_means_are_the_same_by_both_methods(shape, radius, monkeypatch):
    x = random_image(shape)
    compiled, tensors = by_both_methods(monkeypatch, lambda: box_filter(x, radius))
    assert torch.equal(compiled, tensors)
    padded = F.pad(x, (radius,) * 4, mode="replicate")
    torch.testing.assert_close(compiled, F.avg_pool2d(padded, 2 * radius + 1, 1))


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("radius", [(1, 1), (3, 0), (0, 2), (3, 3)])
def test_maxima_are_the_same_by_both_methods(shape, radius, monkeypatch):
    x = random_image(shape)
    x[..., 0, 0] = torch.nan
    compiled, tensors = by_both_methods(monkeypatch, lambda: max_filter(x, radius))
    torch.testing.assert_close(compiled, tensors, rtol=0, atol=0, equal_nan=True)


def test_float64_is_filtered_in_float64():
    x = random_image((1, 1, 9, 8)).double() + 1e-12
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    assert torch.equal(max_filter(x, (1, 1)), F.max_pool2d(padded, 3, 1))
    torch.testing.assert_close(box_filter(x, 1), F.avg_pool2d(padded, 3, 1), rtol=0, atol=1e-15)


def test_the_maximum_of_uint8_is_uint8(method):
    mask = torch.zeros(1, 1, 5, 7, dtype=torch.uint8)
    mask[..., 2, 1], mask[..., 4, 6] = 2, 255
    grown = max_filter(mask, (0, 2))
    assert grown.dtype == torch.uint8
    assert grown[0, 0, 2].tolist() == [2, 2, 2, 2, 0, 0, 0]
    assert grown[0, 0, 4].tolist() == [0, 0, 0, 0, 255, 255, 255]


def fused_lerp(start, end, weight):
    """torch.lerp_ of float32 as a processor with fused multiply-add rounds it; one without rounds the product, too."""
    small = weight.abs() < 0.5
    product = torch.where(small, weight, weight - 1).double() * (end - start).double()
    return start.copy_((torch.where(small, start, end).double() + product).float())


@pytest.mark.parametrize("shape", SIZES)
def test_recursive_filters_are_the_same_by_both_methods(shape, monkeypatch):
    x, (count, _, height, width) = random_image(shape), shape
    keep = torch.rand(count, 1, height - 1, width, generator=torch.Generator().manual_seed(1))
    compiled, tensors = by_both_methods(monkeypatch, lambda: (smooth(x, keep), least_cost(x[:, :1], keep)))
    for ours, theirs in zip(compiled, tensors, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
    monkeypatch.setattr(torch.Tensor, "lerp_", fused_lerp)
    for ours, theirs in zip(compiled, (smooth(x, keep), least_cost(x[:, :1], keep)), strict=True):
        assert torch.equal(ours, theirs)


def test_smoothing_spreads_a_value_only_where_keep_is_above_0(method):
    x = torch.zeros(1, 1, 5, 2)
    x[..., 2, :] = 1.0
    keep = torch.full((1, 1, 4, 2), 0.5)
    keep[..., 1] = 0.0
    spread = smooth(x, keep)[0, 0]
    assert spread[:, 1].tolist() == [0, 0, 1, 0, 0]
    assert (spread[:, 0] > 0).all()
    assert spread[2, 0] > spread[1, 0] > spread[0, 0]


def test_the_cost_of_a_path_is_the_sum_of_its_steps(method):
    start = torch.full((1, 1, 5, 1), 9.0)
    start[..., 1, :] = 0.0
    cost = torch.tensor([1.0, 2, 3, 20]).view(1, 1, 4, 1)
    assert least_cost(start, cost).flatten().tolist() == [1, 0, 2, 5, 9]


def test_filters_leave_their_input_unchanged():
    x = random_image((1, 2, 9, 8)).mT.contiguous()
    before = x.clone()
    keep = torch.rand(1, 1, 7, 9)
    for filtered in (box_filter(x, 2), max_filter(x, (1, 1)), smooth(x, keep), least_cost(x[:, :1], keep)):
        assert filtered.data_ptr() != x.data_ptr()
    assert torch.equal(x, before)
