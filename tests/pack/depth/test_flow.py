"""Flow is where things went, and the camera's part of it is a shift, a turn and a zoom."""

import math

import pytest
import torch

from pack.depth.flow import camera_flow, flow_targets, in_frame, resize_flow, sample_at, track, warp
from pack.kernels.filters import box_filter


def texture(height, width, seed=0):  # (1 1 H W), detail of all sizes, as photographs have it
    grain = torch.randn(1, 1, height, width, generator=torch.Generator().manual_seed(seed))
    return 0.5 + sum(box_filter(box_filter(grain, radius), radius) * radius for radius in (2, 4, 8, 16)) / 4


def flow_between(first, second):
    return track(torch.cat((first, second)), torch.ones(first.shape[-2:]))


def similarity(size, shift=(0.0, 0.0), turn=0.0, zoom=1.0):  # (1 2 H W) flow about the centre
    y, x = torch.meshgrid(*(torch.arange(side) - (side - 1) / 2 for side in size), indexing="ij")
    c, s = zoom * math.cos(turn), zoom * math.sin(turn)
    return torch.stack((c * x - s * y - x + shift[0], s * x + c * y - y + shift[1]))[None]


@pytest.mark.slow
def test_box_is_the_mean_of_a_square_with_its_border_repeated():
    x = texture(9, 12)
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="replicate")
    torch.testing.assert_close(box_filter(x, 2), torch.nn.functional.avg_pool2d(padded, 5, 1))


def test_warp_samples_where_the_flow_points():
    image = torch.arange(20.0).view(1, 1, 4, 5)
    flow = torch.zeros(1, 2, 4, 5)
    flow[:, 0], flow[:, 1] = 1, -0.5
    assert warp(image, flow)[0, 0, 2, 1] == 2 + 1.5 * 5
    assert torch.equal(warp(image, torch.zeros_like(flow)), image)


def test_samples_of_some_pixels_are_those_of_the_whole_warp():
    image, flow = texture(20, 30)[0].expand(2, 20, 30), 9 * torch.randn(1, 2, 20, 30)
    for wanted in (torch.rand(20, 30) < 0.3, torch.zeros(20, 30, dtype=torch.bool)):
        found = sample_at(image, flow_targets(flow)[0][wanted])
        torch.testing.assert_close(found, warp(image[None], flow)[0][:, wanted], atol=1e-6, rtol=0)


def test_in_frame_is_false_where_the_flow_leaves_the_frame():
    flow = torch.zeros(1, 2, 6, 8)
    flow[:, 0], flow[:, 1] = -2.5, 1
    expected = torch.zeros(6, 8, dtype=torch.bool)
    expected[:5, 3:] = True
    assert torch.equal(in_frame(flow)[0, 0], expected)


def test_flow_of_another_size_is_the_same_motion():
    flow = similarity((30, 40), (2, -1), 0.1)
    torch.testing.assert_close(
        resize_flow(flow, (60, 80))[..., 8:-8, 8:-8], similarity((60, 80), (4, -2), 0.1)[..., 8:-8, 8:-8]
    )


@pytest.mark.parametrize("shift", [(0.3, 0.0), (-2.6, 1.4), (7.0, -5.0)])
def test_tracking_finds_a_shift_to_a_fraction_of_a_pixel(shift):
    first = texture(96, 128)
    second = warp(first, -similarity((96, 128), shift))
    flow, camera = flow_between(first, second)
    expected = similarity((96, 128), shift)
    inside = (..., slice(16, -16), slice(16, -16))
    assert (flow - expected)[inside].abs().mean() < 0.1
    assert (camera - expected)[inside].abs().max() < 0.25


def test_tracking_is_not_misled_by_a_change_of_light():
    first = texture(96, 128)
    second = warp(first, -similarity((96, 128), (1.5, 0))) * 0.6 + 0.2
    flow, _ = flow_between(first, second)
    assert (flow - similarity((96, 128), (1.5, 0)))[..., 16:-16, 16:-16].abs().mean() < 0.2


def test_without_texture_the_flow_is_the_cameras():
    first = texture(96, 128)
    first[..., 30:66, 50:90] = 0.5
    second = warp(first, -similarity((96, 128), (2, 0)))
    flow, camera = flow_between(first, second)
    assert (flow - camera)[..., 40:56, 60:80].abs().max() < 0.2


def test_the_cameras_motion_is_found_in_spite_of_moving_objects():
    size = (96, 128)
    camera = similarity(size, (3, -2), turn=0.03, zoom=1.02)
    flow = camera.clone()
    flow[..., 50:, 40:90] += torch.tensor([9.0, 4.0]).view(1, 2, 1, 1)  # a fifth of the picture
    weight = torch.ones(1, 1, *size)
    torch.testing.assert_close(camera_flow(camera, weight), camera, rtol=0, atol=1e-3)
    torch.testing.assert_close(camera_flow(flow, weight), camera, rtol=0, atol=0.1)


def test_pixels_of_weight_0_do_not_change_the_cameras_motion():
    flow = torch.zeros(1, 2, 64, 64)
    flow[..., :40, :] = 5
    weight = torch.ones(1, 1, 64, 64)
    weight[..., :40, :] = 0
    assert camera_flow(flow, weight).abs().max() < 1e-3
