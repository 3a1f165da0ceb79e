"""The building blocks against the original code, on formula weights."""

import pytest
import torch
import torch.nn.functional as F

from model.blocks import ChannelNorm, GatedConv, SpatialMLP, TokenMLP, edge_pad, spatial_block, temporal_block
from tests.support.golden_formulas import feature
from tests.support.training.reference import filled, golden, near


def test_edge_pad_repeats_the_border_and_passes_gradient_to_the_original_pixels_alone():
    x = torch.arange(12.0).view(1, 1, 3, 4).requires_grad_()
    out = edge_pad(x, 2, 1, 0, 3)
    assert torch.equal(out, F.pad(x, (2, 1, 0, 3), mode="replicate"))
    out.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("shift", [0, 1])
def test_window_mlps_equal_the_original(shift):
    unit = filled(SpatialMLP(8, (4, 8), 2, shift=bool(shift)))
    norms = [ChannelNorm(8), ChannelNorm(16)]
    for k, (module, n) in enumerate(zip(norms, (8, 16), strict=True)):
        module.weight.data = 1 + 0.1 * torch.sin(torch.arange(n) + k + 1.0)
    near(unit(feature(2, 8, 16, 24), *norms), golden("gmlp_units")[f"win2d_shift{shift}_norm"])


def written_out(unit, t, norm1, norm2):  # the token MLP by its formula, each line for itself: (N P C) -> (N P C)
    u, v = F.gelu(unit.proj_in(norm1(t))).chunk(2, dim=-1)
    v = unit.proj_spatial(norm2(v).transpose(0, 1)).transpose(0, 1)
    return unit.proj_out(u * v) + t


def norm_in(weight, dtype):  # iw3's: under autocast in that precision, which autocast alone would raise to float32
    def norm(x):
        with torch.autocast("cpu", enabled=False):
            return F.layer_norm(x.to(dtype), weight.shape, weight.to(dtype), eps=1e-5)

    return norm


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-12), (torch.bfloat16, 2e-2)])
def test_the_token_mlp_has_the_values_and_gradients_of_its_formula_in_each_precision(dtype, atol):
    unit = filled(TokenMLP(8, 6, 2))
    scales = [torch.linspace(0.5, 1.5, n) for n in (8, 16)]
    if dtype == torch.float64:
        unit, scales = unit.double(), [scale.double() for scale in scales]
    norms = [ChannelNorm(len(scale)) for scale in scales]
    for norm, scale in zip(norms, scales, strict=True):
        norm.weight.data = scale
    t = feature(6, 5, 8).to(torch.float64 if dtype == torch.float64 else torch.float32).requires_grad_()
    learned = [t, *unit.parameters(), *(norm.weight for norm in norms)]
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = unit(t, *norms)
        expected = written_out(unit, t, *(norm_in(norm.weight, dtype) for norm in norms))
    assert found.dtype == expected.dtype == t.dtype
    assert torch.allclose(found, expected, atol=atol)
    for a, b in zip(*(torch.autograd.grad(out.square().sum(), learned) for out in (found, expected)), strict=True):
        assert torch.allclose(a, b, atol=atol * b.abs().max().item())


@pytest.mark.parametrize(
    ("block", "shape", "key"),
    [
        (spatial_block(8, 8, 2), (2, 8, 16, 16), "block2d_shift0"),
        (spatial_block(8, 8, 2, shift=True), (2, 8, 16, 16), "block2d_shift1"),
        (temporal_block(8, 12, 2), (12, 8, 4, 6), "block3d"),
        (GatedConv(8), (2, 8, 16, 24), "gluconv"),
    ],
)
def test_blocks_equal_the_original(block, shape, key):
    near(filled(block)(feature(*shape)), golden("gmlp_units")[key])
