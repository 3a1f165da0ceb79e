import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tests.support.golden_formulas import feature, video, wave
from tools.evaluation import motion, perception
from tools.evaluation.motion import flow_to_next, optical_flow, trusted
from tools.evaluation.perception import TRUNK_FILE, Lpips, create_lpips, crop, load_lpips, load_trunk
from tools.evaluation.quality import (
    Truth,
    hole_widths,
    iw3_psnr,
    maps,
    measure,
    warping_error,
)
from train.evaluation.metrics import ssim_map, temporal_difference

PSNR = np.load("tests/golden/psnr.npz")
LPIPS = np.load("tests/golden/lpips_formula.npz")


def video_mask(frames, height, width):  # -> bool (T 1 H W): a drifting box and a drifting strip
    mask = torch.zeros(frames, 1, height, width, dtype=torch.bool)
    for t in range(frames):
        mask[t, 0, height // 4 : height * 3 // 4, width // 3 + t : width // 3 + 10 + 2 * t] = True
        mask[t, 0, 10 : height - 8, width - 30 + t] = True
    return mask


@pytest.fixture(scope="module")
def golden():
    """Output, truth and holes of the golden numbers."""
    output = video(12, 72, 72) + 0.3 * feature(12, 3, 72, 72, a=0.53)
    return output, video(13, 72, 72)[1:], video_mask(12, 72, 72)


@pytest.fixture(scope="module")
def noisy():
    gen = torch.Generator().manual_seed(0)
    truth = torch.nn.functional.interpolate(torch.rand(4, 3, 10, 12, generator=gen), (40, 48), mode="bicubic")
    truth = truth.clamp(0, 1)
    output = (truth + 0.1 * torch.randn(truth.shape, generator=gen)).clamp(0, 1)
    return output, truth


def pan(frames=5, size=64, step=3):  # (T 3 H W): a texture that moves `step` pixels left in every frame
    gen = torch.Generator().manual_seed(1)
    wide = torch.nn.functional.interpolate(torch.rand(1, 3, 20, 40, generator=gen), (size, 2 * size), mode="bicubic")
    return torch.cat([wide[..., step * t : step * t + size] for t in range(frames)]).clamp(0, 1)


def iw3_sums(output, truth, holes):
    return iw3_psnr(maps(output.clamp(0, 1), truth)[0], holes)


def test_psnr_of_iw3_has_the_golden_values(golden):
    sums = iw3_sums(*golden)
    assert sums["frames"] == 12
    assert sums["psnr"] / 12 == pytest.approx(PSNR["whole"], abs=1e-5)
    assert sums["hole_psnr"] / 12 == pytest.approx(PSNR["masked"], abs=1e-5)
    one = iw3_sums(*(x[3:4] for x in golden))
    assert one["psnr"] == pytest.approx(PSNR["per_frame"][3], abs=1e-5)
    assert one["hole_psnr"] == pytest.approx(PSNR["per_frame_masked"][3], abs=1e-5)


def test_iw3_counts_only_frames_with_a_hole_and_is_4_77_db_below_the_usual_psnr(golden):
    output, truth, holes = (x[:2].clone() for x in golden)
    holes[1] = False
    sums = iw3_sums(output, truth, holes)
    assert sums["frames"] == 1
    usual = measure(output, Truth.of(truth, holes))["hole_psnr"]
    assert usual - sums["hole_psnr"] == pytest.approx(10 * math.log10(3), abs=1e-3)


def test_psnr_and_ssim_of_frames_are_those_of_scikit_image(noisy):
    output, truth = noisy
    found = measure(output, Truth.of(truth, torch.ones(4, 1, 40, 48, dtype=torch.bool)))
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(truth.numpy(), output.numpy(), data_range=1), 1e-5)
    options = {"data_range": 1, "channel_axis": 0, "gaussian_weights": True, "sigma": 1.5, "full": True}
    theirs = [
        structural_similarity(x.double().numpy(), y.double().numpy(), use_sample_covariance=False, **options)
        for x, y in zip(output, truth, strict=True)
    ]
    np.testing.assert_allclose(ssim_map(output, truth), np.stack([full for _, full in theirs]), atol=1e-4)
    assert found["ssim"] == pytest.approx(np.mean([value for value, _ in theirs]), abs=1e-5)


def test_measures_inside_holes_use_no_other_pixel(noisy):
    output, truth = noisy
    holes = torch.zeros(4, 1, 40, 48, dtype=torch.bool)
    holes[..., 10:20, 5:9] = True
    found = measure(output, Truth.of(truth, holes))
    cut = [x[..., 10:20, 5:9] for x in (output, truth)]
    assert found["hole_mae"] == pytest.approx(float((cut[0] - cut[1]).abs().mean()), rel=1e-6)
    assert found["hole_psnr"] == pytest.approx(peak_signal_noise_ratio(*(x.numpy() for x in cut), data_range=1), 1e-5)
    assert found["hole_ssim"] == pytest.approx(float(maps(output, truth)[2][..., 10:20, 5:9].mean()), rel=1e-6)


def test_maps_are_those_of_tensor_operations_and_perfect_where_no_error_is_near(noisy):
    output, truth = noisy
    output = torch.where(torch.arange(40).view(1, 1, 40, 1) % 24 < 8, output, truth)  # rows 0 to 7 and 24 to 31
    output[2] = truth[2]
    found = maps(output, truth)
    expected = (output - truth).square(), (output - truth).abs(), ssim_map(output, truth)
    for plane, other, tolerance in zip(found, expected, (1e-7, 1e-7, 2e-5), strict=True):
        torch.testing.assert_close(plane, other.mean(1, keepdim=True), atol=tolerance, rtol=0)
    assert (found[2][..., 13:19, :] == 1).all() and (found[2][2] == 1).all()
    assert (found[2][0, 0, [*range(13), *range(19, 37)]] < 1).any(1).all()


def test_the_ground_truth_is_perfect_in_every_measure_but_the_warping_error():
    frames = pan()
    holes = torch.zeros(5, 1, 64, 64, dtype=torch.bool)
    holes[..., 20:40, 20:40] = True
    found = measure(frames, Truth.of(frames, holes))
    assert found["psnr"] == found["hole_psnr"] == 100 and found["ssim"] == pytest.approx(1)
    assert found["hole_tde"] == found["hole_tof"] == found["mae"] == 0
    assert 0 < found["hole_ewarp"] < 1e-3


def test_a_clip_without_holes_has_no_measure_of_holes():
    frames = pan(3)
    found = measure(frames, Truth.of(frames, torch.zeros(3, 1, 64, 64, dtype=torch.bool)))
    assert found.pop("iw3_frames") == found.pop("iw3_psnr") == found.pop("iw3_hole_psnr") == 0
    assert all(math.isnan(value) == name.startswith("hole_") for name, value in found.items())


def test_a_constant_error_does_not_flicker_and_an_alternating_one_does():
    frames = 0.25 + pan(4) / 2
    holes = torch.ones(4, 1, 64, 64, dtype=torch.bool)
    assert temporal_difference(frames + 0.1, frames, holes) == pytest.approx(0, abs=1e-6)
    signs = torch.tensor([1.0, -1, 1, -1]).view(4, 1, 1, 1)
    assert temporal_difference(frames + 0.1 * signs, frames, holes) == pytest.approx(0.2, rel=1e-5)


def test_the_warping_error_measures_what_does_not_follow_the_motion():
    frames, step = pan(4), torch.tensor([-3.0, 0]).view(1, 2, 1, 1)
    seen = torch.zeros(3, 1, 64, 64, dtype=torch.bool)
    seen[..., 8:-8, 8:-8] = True
    holes = torch.ones(4, 1, 64, 64, dtype=torch.bool)
    truth = Truth.moving(frames, holes, step.expand(3, 2, 64, 64), seen)
    assert warping_error(frames, truth) < 1e-9
    lights = 0.1 * torch.arange(4.0).view(4, 1, 1, 1)
    assert warping_error(frames + lights, truth) == pytest.approx(0.01, rel=1e-3)


def test_the_flow_to_the_next_frame_is_that_between_both():
    frames = pan(3)
    assert torch.equal(flow_to_next(frames), optical_flow(frames[:-1], frames[1:]))


@pytest.mark.parametrize("has_cv2", [True, False])
def test_flow_finds_a_pan_and_is_trusted_except_where_it_leaves_the_frame(monkeypatch, has_cv2):
    monkeypatch.setattr(motion, "HAS_CV2", has_cv2)
    frames = pan(2)
    forward, backward = optical_flow(frames[:1], frames[1:]), optical_flow(frames[1:], frames[:1])
    middle = forward[..., 12:-12, 12:-12]
    assert (middle - torch.tensor([-3.0, 0]).view(1, 2, 1, 1)).abs().mean() < 0.25
    seen = trusted(forward, backward)
    assert seen[..., 12:-12, 12:-12].float().mean() > 0.95
    assert not seen[..., :2].any()


def test_the_width_of_a_hole_is_the_length_of_its_run_in_the_row():
    row = torch.tensor([1, 1, 0, 1, 0, 0, 1, 1, 1], dtype=torch.bool).view(1, 1, 1, 9)
    assert hole_widths(row).flatten().tolist() == [2, 2, 0, 1, 0, 0, 3, 3, 3]


def formula_alexnet():
    """The trunk of the golden numbers: convolution n is 1.4 sqrt(2 / fan in) times wave n."""
    network = create_lpips()
    named = dict(network.net.named_parameters())
    weights = {}
    for n, name in enumerate(name for name in named if name.endswith("weight")):
        place, weight = name.split(".", 1)[1].removesuffix("weight"), named[name]
        scale = 1.4 * math.sqrt(2 / weight[0].numel())
        weights[f"{place}weight"] = scale * wave(weight.numel(), n).view(weight.shape)
        weights[f"{place}bias"] = (0.05 * torch.sin(0.37 * torch.arange(len(weight)).double() + n)).float()
    return network, weights


@pytest.mark.slow
def test_lpips_has_the_golden_values(golden):
    network, weights = formula_alexnet()
    load_trunk(network, weights)
    found = Lpips(network)(*golden)
    assert float(found["lpips"]) == pytest.approx(LPIPS["metric_alex"], rel=1e-4)
    assert float(found["hole_lpips"]) == pytest.approx(LPIPS["metric_alex_mask"], rel=1e-4)


def test_lpips_is_that_of_the_package_and_computes_the_features_of_a_truth_once(golden):
    output, truth, holes = golden
    network, passes = create_lpips(), []
    network.net.register_forward_hook(lambda *_: passes.append(1))
    measure_lpips, other = Lpips(network), truth.flip(-1)
    found = [measure_lpips(*pair, holes)["lpips"] for pair in ((output, truth), (1 - output, truth), (output, other))]
    assert len(passes) == 5 * len(truth)  # of three outputs and two truths
    for value, pair in zip(found, ((output, truth), (1 - output, truth), (output, other)), strict=True):
        with torch.inference_mode():
            expected = network(*(2 * crop(frames) - 1 for frames in pair)).mean()
        assert value == pytest.approx(float(expected), rel=1e-5)


def test_lpips_takes_the_file_of_torchvision_and_a_bad_one_is_named(tmp_path, golden):
    _, weights = formula_alexnet()
    torch.save({f"features.{name}": value for name, value in weights.items()}, tmp_path / TRUNK_FILE)
    found = load_lpips(tmp_path)(*golden)
    assert float(found["lpips"]) == pytest.approx(LPIPS["metric_alex"], rel=1e-4)
    (tmp_path / TRUNK_FILE).write_bytes(b"no weights")
    with pytest.raises(ValueError, match=TRUNK_FILE):
        load_lpips(tmp_path)


def test_missing_weights_are_not_downloaded_but_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ValueError, match=f"download {perception.TRUNK_URL} to {tmp_path}"):
        load_lpips()
