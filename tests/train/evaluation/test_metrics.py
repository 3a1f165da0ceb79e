"""What the metrics of the holes are, on pixels that are counted by hand."""

import math

import numpy as np
import pytest
import torch

from train.evaluation.metrics import (
    as_uint8,
    hole_share,
    mean_where,
    psnr,
    sequence_metrics,
    ssim_map,
    temporal_difference,
)

T, SIZE = 3, 24


@pytest.fixture
def frames():
    return 0.25 + torch.rand(T, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) / 2


def no_holes():
    return torch.zeros(T, 1, SIZE, SIZE, dtype=torch.bool)


def test_the_temporal_difference_error_is_over_the_pixels_that_are_a_hole_in_either_of_two_frames(frames):
    holes, output = no_holes(), frames.clone()
    holes[0, :, 4, :2] = holes[1, :, 4, 1:4] = True  # 4 pixels of frames 0 and 1, 3 of frames 1 and 2: 7 changes
    output[1, :, 4, 3] += 0.1  # a hole in frame 1 alone: changes by 0.1 from frame 0 and to frame 2
    output[1:, :, 4, 0] += 0.2  # a hole in frame 0 alone: changes by 0.2 from frame 0
    output[2, :, 9, 9] += 0.2  # never a hole
    expected = (0.1 + 0.1 + 0.2) / 7
    assert float(temporal_difference(output, frames, holes)) == pytest.approx(expected, rel=1e-5)
    assert float(sequence_metrics(output, frames, holes)["masked_tde"]) == pytest.approx(expected, rel=1e-5)


def test_masked_metrics_are_means_over_the_pixels_of_the_holes_alone(frames):
    holes, output = no_holes(), frames.clone()
    holes[0, :, 4, :2] = holes[2, :, 5, :2] = True  # 4 pixels
    output[0, :, 4, 0] += 0.2
    output[:, :, 15, 15] -= 0.25  # outside
    found = sequence_metrics(output, frames, holes)
    assert float(found["masked_mae"]) == pytest.approx(0.2 / 4, rel=1e-5)
    assert float(found["masked_psnr"]) == pytest.approx(float(psnr(torch.tensor(0.04 / 4))), rel=1e-5)
    where = holes.expand_as(frames)
    assert float(found["masked_ssim"]) == pytest.approx(float(ssim_map(output, frames)[where].mean()), rel=1e-5)


def test_without_holes_the_masked_metrics_are_those_of_a_perfect_fill(frames):
    found = {name: float(value) for name, value in sequence_metrics(frames * 0.5, frames, no_holes()).items()}
    assert found["psnr"] < 20
    masked = {name: value for name, value in found.items() if name.startswith("masked_")}
    assert masked == {"masked_psnr": 100, "masked_ssim": 1, "masked_mae": 0, "masked_tde": 0}


@pytest.mark.parametrize("value", [math.nan, -math.nan])
def test_no_metric_of_a_network_of_nan_is_a_number(frames, value):
    holes = no_holes()
    holes[1, :, 4, 4] = True
    found = sequence_metrics(torch.full_like(frames, value), frames, holes)
    assert all(math.isnan(value) for value in found.values())


def ssim_by_definition(x, y):  # float64 (H W) x 2 -> (H W)
    """Wang et al. 2004, equation 13: moments of the 11x11 pixels around each pixel, with weights of a Gaussian."""
    tap = np.arange(-5, 6)
    weights = np.exp(-(tap[:, None] ** 2 + tap[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()

    def mean(image):
        around = np.lib.stride_tricks.sliding_window_view(np.pad(image, 5, mode="symmetric"), (11, 11))
        return (around * weights).sum((-2, -1))

    covariance = mean(x * y) - mean(x) * mean(y)
    variances = mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2
    c1, c2 = 0.01**2, 0.03**2
    means = (2 * mean(x) * mean(y) + c1) / (mean(x) ** 2 + mean(y) ** 2 + c1)
    return means * (2 * covariance + c2) / (variances + c2)


def test_ssim_is_that_of_its_definition_also_at_borders_and_in_images_of_many_rows():
    random = np.random.default_rng(0)
    for height, width in ((75, 13), (6, 40), (11, 11)):
        truth = random.random((height, width))
        output = np.clip(0.8 * truth + 0.3 * random.random((height, width)) - 0.1, 0, 1)
        found = ssim_map(*(torch.from_numpy(image)[None, None] for image in (output, truth)))
        assert found[0, 0].numpy() == pytest.approx(ssim_by_definition(output, truth), abs=1e-9)


def test_psnr_is_minus_ten_times_the_logarithm_of_the_mean_squared_error(frames):
    assert psnr(torch.tensor([1.0, 0.01, 1e-9, 0.0])).tolist() == pytest.approx([0, 20, 90, 100])
    output = frames + torch.tensor([0.1, 0.0, -0.1]).view(3, 1, 1, 1)
    found = sequence_metrics(output, frames, no_holes())["psnr"]
    assert float(found) == pytest.approx(-10 * math.log10(2 * 0.01 / 3), rel=1e-5)


def test_output_beyond_the_range_of_colours_is_measured_as_it_is_shown(frames):
    far, shown = frames + 10, torch.ones_like(frames)
    one, other = (sequence_metrics(output, frames, no_holes()) for output in (far, shown))
    assert one == other


def test_means_and_shares_are_over_the_pixels_that_are_asked_for():
    holes = no_holes()
    holes[0, 0, 0, :6] = True
    values = torch.arange(T * 3 * SIZE * SIZE, dtype=torch.float32).view(T, 3, SIZE, SIZE)
    expected = np.mean([values[0, c, 0, x] for c in range(3) for x in range(6)])
    assert float(mean_where(values, holes)) == pytest.approx(float(expected))
    assert math.isnan(float(mean_where(values, no_holes())))
    assert float(hole_share(holes)) == pytest.approx(6 / (T * SIZE * SIZE))


def test_frames_become_bytes_with_channels_last_rounded_and_clipped():
    frames = (
        torch.tensor([-0.5, 0.0, 0.4999 / 255, 0.5001 / 255, 1 / 255, 0.5, 1.0, 2.0])
        .view(1, 1, 1, 8)
        .repeat(1, 3, 2, 1)
    )
    frames[:, 1] = 1
    found = as_uint8(frames)
    assert found.shape == (1, 2, 8, 3) and found.dtype == torch.uint8
    assert found[0, 0, :, 0].tolist() == [0, 0, 0, 1, 1, 128, 255, 255] and (found[..., 1] == 255).all()
