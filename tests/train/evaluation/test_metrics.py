"""What the metrics of the holes are, on pixels that are counted by hand."""

import math

import pytest
import torch

from train.evaluation.metrics import psnr, sequence_metrics, ssim_map, temporal_difference

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
