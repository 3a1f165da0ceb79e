import pytest
import torch

from pack.depth.steadiness import still_change


def test_flicker_is_measured_on_still_pixels_alone():
    frames = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0)).repeat(3, 1, 1, 1)
    frames[1, :, :, 32:] = 1 - frames[1, :, :, 32:]  # the right half moves
    depth = torch.zeros(3, 1, 16, 32)
    depth[1, :, :, :12] = 0.25
    depth[..., 24:] = torch.arange(3).view(3, 1, 1, 1)
    total, pixels = still_change(frames, depth)
    assert 2 * 16 * 13 <= pixels <= 2 * 16 * 16 and total == pytest.approx(2 * 16 * 12 * 0.25)


def test_steady_depth_does_not_change():
    frames, depth = torch.rand(1, 3, 16, 16).expand(4, -1, -1, -1), torch.rand(1, 1, 16, 16).expand(4, -1, -1, -1)
    assert still_change(frames, depth) == (0, 3 * 256)
