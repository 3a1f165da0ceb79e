"""Filters compiled by numba give what tensors give, to the last bit; and the tensors give what torch's own do."""

import pytest
import torch
import torch.nn.functional as F

from pack.kernels import filters
from pack.kernels.filters import approach, box_filter, max_filter, smooth

SIZES = [(2, 3, 33, 47), (1, 1, 1, 20), (2, 1, 20, 1), (1, 2, 5, 4)]


def picture(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def both_ways(monkeypatch, work):
    """What a filter gives by numba, if it is there, and by tensors."""
    compiled = work()
    monkeypatch.setattr(filters, "HAS_NUMBA", False)
    return compiled, work()


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("radius", [1, 3, 6])
def test_means_are_the_same_both_ways(shape, radius, monkeypatch):
    x = picture(shape)
    compiled, tensors = both_ways(monkeypatch, lambda: box_filter(x, radius))
    assert torch.equal(compiled, tensors)
    padded = F.pad(x, (radius,) * 4, mode="replicate")
    torch.testing.assert_close(compiled, F.avg_pool2d(padded, 2 * radius + 1, 1))


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("radius", [(1, 1), (3, 0), (0, 2), (3, 3)])
def test_maxima_are_the_same_both_ways(shape, radius, monkeypatch):
    x = picture(shape)
    x[..., 0, 0] = torch.nan
    compiled, tensors = both_ways(monkeypatch, lambda: max_filter(x, radius))
    torch.testing.assert_close(compiled, tensors, rtol=0, atol=0, equal_nan=True)


def test_doubles_keep_their_digits():
    x = picture((1, 1, 9, 8)).double() + 1e-12
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    assert torch.equal(max_filter(x, (1, 1)), F.max_pool2d(padded, 3, 1))
    torch.testing.assert_close(box_filter(x, 1), F.avg_pool2d(padded, 3, 1), rtol=0, atol=1e-15)


@pytest.mark.parametrize("has_numba", [True, False])
def test_maxima_of_masks_stay_masks(has_numba, monkeypatch):
    monkeypatch.setattr(filters, "HAS_NUMBA", has_numba)
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
def test_sweeps_are_the_same_both_ways(shape, monkeypatch):
    x, (count, _, height, width) = picture(shape), shape
    keep = torch.rand(count, 1, height - 1, width, generator=torch.Generator().manual_seed(1))
    compiled, tensors = both_ways(monkeypatch, lambda: (smooth(x, keep), approach(x[:, :1], keep)))
    for ours, theirs in zip(compiled, tensors, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
    monkeypatch.setattr(torch.Tensor, "lerp_", fused_lerp)
    for ours, theirs in zip(compiled, (smooth(x, keep), approach(x[:, :1], keep)), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("has_numba", [True, False])
def test_a_sweep_carries_a_value_as_far_as_it_is_kept(has_numba, monkeypatch):
    monkeypatch.setattr(filters, "HAS_NUMBA", has_numba)
    x = torch.zeros(1, 1, 5, 2)
    x[..., 2, :] = 1.0
    keep = torch.full((1, 1, 4, 2), 0.5)
    keep[..., 1] = 0.0
    spread = smooth(x, keep)[0, 0]
    assert spread[:, 1].tolist() == [0, 0, 1, 0, 0]
    assert (spread[:, 0] > 0).all()
    assert spread[2, 0] > spread[1, 0] > spread[0, 0]


@pytest.mark.parametrize("has_numba", [True, False])
def test_a_way_costs_its_steps(has_numba, monkeypatch):
    monkeypatch.setattr(filters, "HAS_NUMBA", has_numba)
    start = torch.full((1, 1, 5, 1), 9.0)
    start[..., 1, :] = 0.0
    cost = torch.tensor([1.0, 2, 3, 20]).view(1, 1, 4, 1)
    assert approach(start, cost).flatten().tolist() == [1, 0, 2, 5, 9]


def test_what_is_filtered_stays_as_it_was():
    x = picture((1, 2, 9, 8)).mT.contiguous()
    before = x.clone()
    keep = torch.rand(1, 1, 7, 9)
    for filtered in (box_filter(x, 2), max_filter(x, (1, 1)), smooth(x, keep), approach(x[:, :1], keep)):
        assert filtered.data_ptr() != x.data_ptr()
    assert torch.equal(x, before)
