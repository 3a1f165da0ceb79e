import math

import numpy as np
import pytest
import torch

from tools.stereo_truth.measures import BAND, DIFFERENCE, EDGE, TrueEye, band, edges, iou, measure, siou
from train.evaluation.metrics import ssim_map


def random_truth(seed=0, frames=3, height=24, width=40):
    gen = torch.Generator().manual_seed(seed)
    left, right = torch.rand(2, frames, 3, height, width, generator=gen)
    uncovered = torch.zeros(frames, 1, height, width, dtype=torch.bool)
    for t in range(frames):
        uncovered[t, 0, 5 : 9 + t, 20 : 24 + t] = True
    return TrueEye(left, right, uncovered)


def brute_force_band(uncovered, width):
    found = torch.zeros_like(uncovered)
    frames, _, height, columns = uncovered.shape
    for t in range(frames):
        for y in range(height):
            for x in range(columns):
                rows, near = slice(max(0, y - width), y + width + 1), slice(max(0, x - width), x + width + 1)
                found[t, 0, y, x] = bool(uncovered[t, 0, rows, near].any()) and not uncovered[t, 0, y, x]
    return found


@pytest.mark.parametrize("width", [1, BAND])
def test_the_band_is_what_has_an_uncovered_pixel_near_and_is_none(width):
    uncovered = random_truth().uncovered
    uncovered[0, 0, 0, 0] = uncovered[1, 0, 23, 39] = True  # at the border, too
    assert torch.equal(band(uncovered, width), brute_force_band(uncovered, width))


def test_regions_do_not_overlap_and_the_frame_holds_both():
    regions = random_truth().regions
    assert not (regions["uncovered"] & regions["band"]).any()
    assert regions["frame"].all()


def test_psnr_of_a_region_is_that_of_all_its_pixels_and_all_three_colours():
    truth = random_truth()
    output = torch.rand(truth.right.shape, generator=torch.Generator().manual_seed(9))
    found = measure(output, truth, torch.zeros_like(truth.uncovered), {})
    for name, where in truth.regions.items():
        errors = []
        for t, y, x in np.argwhere(where[:, 0].numpy()):
            errors += [float(output[t, c, y, x] - truth.right[t, c, y, x]) ** 2 for c in range(3)]
        assert found[f"{name}_psnr"] == pytest.approx(-10 * math.log10(sum(errors) / len(errors)), rel=1e-5)
        assert found[f"{name}_mse"] == pytest.approx(sum(errors) / len(errors), rel=1e-5)


def test_ssim_of_a_region_is_the_mean_of_the_frames_map_there():
    truth = random_truth()
    output = (truth.right * 0.8 + 0.1).clamp(0, 1)
    found = measure(output, truth, torch.zeros_like(truth.uncovered), {})
    planes = ssim_map(output, truth.right).mean(1)
    assert found["band_ssim"] == pytest.approx(float(planes[band(truth.uncovered)[:, 0]].double().mean()), rel=1e-5)


def test_flicker_counts_as_temporal_error_and_a_steady_offset_does_not():
    truth = random_truth()
    steady = measure(truth.right * 0.5, TrueEye(truth.left, truth.right * 0.5 + 0.25, truth.uncovered), NONE, {})
    flicker = truth.right.clone()
    flicker[1] = 1 - flicker[1]
    assert steady["uncovered_tde"] == pytest.approx(0, abs=1e-6)
    assert measure(flicker, truth, NONE, {})["uncovered_tde"] > 0.1


NONE = torch.zeros(3, 1, 24, 40, dtype=torch.bool)


def test_the_true_eye_itself_has_the_best_of_all_numbers():
    truth = random_truth()
    found = measure(truth.right, truth, NONE, {"0-8": truth.uncovered})
    for region in ("uncovered", "band", "frame"):
        assert found[f"{region}_psnr"] == pytest.approx(100)
        assert found[f"{region}_ssim"] == pytest.approx(1)
        assert found[f"{region}_tde"] == found[f"{region}_mse"] == 0
    assert found["siou"] == 1 and found["uncovered_psnr of 0-8"] == pytest.approx(100)


def test_errors_are_shared_between_filled_and_warped_pixels():
    truth = random_truth()
    output, filled = truth.right.clone(), torch.zeros_like(truth.uncovered)
    filled[:, :, 5:7] = True
    output[:, :, 5:7] = 1 - output[:, :, 5:7]
    found = measure(output, truth, filled, {})
    assert found["uncovered_mse"] > 0 and found["uncovered_mse_filled"] == pytest.approx(found["uncovered_mse"])
    assert measure(output, truth, ~filled, {})["uncovered_mse_filled"] == 0


def test_siou_is_the_mean_of_both_intersections_over_unions_pixel_by_pixel():
    truth = random_truth(1, frames=2, height=8, width=9)
    noise = torch.randn(truth.right.shape, generator=torch.Generator().manual_seed(2))
    output = (truth.right + 0.05 * noise).clamp(0, 1)
    luma = [
        (eye * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1).double().numpy()
        for eye in (truth.left, output, truth.right)
    ]

    def is_edge(plane, y, x):
        p = np.pad(plane, 1, mode="edge")[y : y + 3, x : x + 3]
        across = (p[:, 2] - p[:, 0]) @ [1, 2, 1] / 8
        down = (p[2] - p[0]) @ [1, 2, 1] / 8
        return math.hypot(across, down) >= EDGE

    expected = []
    for t in range(2):
        left, made, right = (plane[t] for plane in luma)
        places = [(y, x) for y in range(8) for x in range(9)]
        outline = [{p for p in places if is_edge(eye, *p)} for eye in (made, right)]
        apart = [{p for p in places if abs(eye[p] - left[p]) >= DIFFERENCE} for eye in (made, right)]
        expected.append(sum(len(a & b) / len(a | b) for a, b in (outline, apart)) / 2)
    assert 0 < expected[0] < 1
    assert float(siou(output, truth)) == pytest.approx(sum(expected) / 2, abs=1e-6)


def test_siou_of_the_left_eye_counts_no_depth():
    truth = random_truth()
    outlines = iou(edges(truth.left.mean(1, keepdim=True)), edges(truth.right.mean(1, keepdim=True)))
    assert float(siou(truth.left, truth)) <= 0.5 * float(outlines.mean()) + 0.05


def test_two_empty_sets_agree():
    nothing = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    assert torch.equal(iou(nothing, nothing), torch.ones(2).double())
