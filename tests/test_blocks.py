"""The building blocks against the original code, on formula weights."""

import pytest
import torch
import torch.nn.functional as F

from model.blocks import ChannelNorm, GatedConv, SpatialMLP, edge_pad, spatial_block, temporal_block
from tests.formulas import feature
from tests.originals import filled, golden, near


def test_edge_pad_repeats_the_border_and_passes_gradient_to_the_original_pixels_alone():
    x = torch.arange(12.0).view(1, 1, 3, 4).requires_grad_()
    out = edge_pad(x, 2, 1, 0, 3)
    assert torch.equal(out, F.pad(x, (2, 1, 0, 3), mode="replicate"))
    out.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("norm", ["norm", "nonorm"])
def test_window_mlps_equal_the_original(shift, norm):
    unit = filled(SpatialMLP(8, (4, 8), 2, shift=bool(shift)))
    norms = [torch.nn.Identity()] * 2
    if norm == "norm":
        norms = [ChannelNorm(8), ChannelNorm(16)]
        for k, (module, n) in enumerate(zip(norms, (8, 16), strict=True)):
            module.weight.data = 1 + 0.1 * torch.sin(torch.arange(n) + k + 1.0)
    near(unit(feature(2, 8, 16, 24), *norms), golden("gmlp_units")[f"win2d_shift{shift}_{norm}"])


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


def test_norms_are_computed_in_the_dtype_of_autocast():
    norm, x = ChannelNorm(8), feature(2, 3, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = norm(x)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, F.layer_norm(x.bfloat16(), (8,), torch.ones(8).bfloat16(), eps=1e-5))
