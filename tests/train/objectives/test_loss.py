import math

import numpy as np
import pytest
import torch

from tests.support.golden_formulas import feature, video
from tools.evaluation.quality import hole_widths
from tools.evaluation.summary import WIDTHS
from train.objectives.dct import dct, dct_loss
from train.objectives.loss import (
    LOSSES,
    TEMPORAL,
    Loss,
    clamp_l1,
    create_loss,
    mean,
    temporal_gradient,
    temporal_smoothing,
    term,
)
from train.objectives.perceptual import Perceptual, vgg16_trunk

GOLDEN = np.load("tests/golden/losses.npz")


def pair(requires_grad=True):
    output = video(12, 64, 64) + 0.3 * feature(12, 3, 64, 64, a=0.53)
    return output.requires_grad_(requires_grad), video(13, 64, 64)[1:]


def box(frames=12, size=64, first=20, last=30):
    holes = torch.zeros(frames, 1, size, size, dtype=torch.bool)
    holes[..., first:last, first:last] = True
    return holes


def tiny_perceptual():
    torch.manual_seed(0)
    widths = (4, 4, 8, 8, 8)
    return Perceptual(vgg16_trunk(widths), [torch.rand(w) for w in widths])


BASE = {
    "base_temporal_l1lpips": LOSSES["temporal_l1"],
    "base_temporal_l1dctlpips": LOSSES["temporal_l1dctlpips"],
    "base_l1dctlpips": LOSSES["l1dctlpips"],
    "loss_dct_eval": LOSSES["dct"],
}


def as_in_iw3(weights):  # whose smoothing runs over colours
    def loss(z, y):
        total = 0
        for name, weight in weights.items():
            if name == "temporal_smoothing":
                total = total + weight * temporal_smoothing(z, axis=1)
            elif name != "lpips":
                total = total + weight * term(name, z, y, box())
        return total

    return loss


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("clamp_l1", clamp_l1),
        ("temporal_gradient", temporal_gradient),
        ("temporal_smoothing_AS_IS_channel_axis", lambda z, y: temporal_smoothing(z, axis=1)),
        ("dct_w4", lambda z, y: dct_loss(z, y, 4)),
        ("dct_w24_rot_eval", lambda z, y: dct_loss(z, y, 24, rotated=True)),
        ("dct_full_rot_eval", lambda z, y: dct_loss(z, y, rotated=True)),
        ("dct_w32_overlap", lambda z, y: dct_loss(z, y, 32, overlap=True)),
        ("dct_full_noclamp", lambda z, y: dct_loss(z, y, clamp=False)),
        *((name, as_in_iw3(weights)) for name, weights in BASE.items()),
    ],
)
def test_value_and_gradient_are_those_of_iw3(name, loss):
    output, target = pair()
    value = loss(output, target)
    value.backward()
    gradient = output.grad.double()
    found = [value.item(), gradient.norm().item(), gradient.abs().sum().item()]
    np.testing.assert_allclose(found, GOLDEN[name], rtol=2e-5)


def test_temporal_smoothing_penalises_flicker_and_not_colour():
    flicker = torch.tensor([0.0, 1, 0, 1]).view(4, 1, 1, 1).expand(4, 3, 8, 8)
    colour = torch.tensor([0.0, 1, 0]).view(1, 3, 1, 1).expand(4, 3, 8, 8)
    assert temporal_smoothing(flicker).item() == 4
    assert temporal_smoothing(colour).item() == 0


def test_temporal_smoothing_is_0_for_steady_change():
    ramp = torch.linspace(0, 1, 5).view(5, 1, 1, 1).expand(5, 3, 8, 8)
    assert temporal_smoothing(ramp).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_finite_and_has_a_gradient_only_for_the_output(name):
    output, target = pair()
    target.requires_grad_(True)
    criterion = create_loss(name, perceptual=tiny_perceptual())
    terms = criterion(output, target.detach(), box(), torch.Generator().manual_seed(0))
    assert list(terms) == list(LOSSES[name])
    sum(terms.values()).backward()
    assert output.grad.isfinite().all() and output.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in criterion.parameters())


def test_the_weights_are_those_of_the_documented_formulas():
    plain = {"l1": 0.8, "temporal_gradient": 0.2, "temporal_smoothing": 0.01}
    holes, band = ({f"{region}_{name}": weight for name, weight in plain.items()} for region in ("hole", "band"))
    around = {"band_psnr": 0.05, "band_temporal_gradient": 0.2}
    assert {
        "temporal_l1lpips": plain | {"lpips": 0.2},
        "temporal_l1dctlpips": plain | {"l1": 0.4, "dct_overlap": 0.4, "lpips": 0.2},
        "l1lpips": {"l1": 1, "lpips": 0.4},
        "l1dctlpips": {"l1": 0.5, "dct_overlap": 0.5, "lpips": 0.2},
        "dct": {"dct_4": 0.2, "dct_24": 0.2, "dct_whole": 0.6},
        "temporal_l1": plain,
        "hole_l1lpips": plain | holes | {"lpips": 0.2, "hole_lpips": 0.2},
        "hole_l1": plain | holes,
        "band_l1lpips": plain | band | {"lpips": 0.2, "hole_lpips": 0.2},
        "band_l1": plain | band,
        "band_psnr": plain | {"hole_psnr": 0.1} | around | {"band_psnr": 0.1},
        "width_psnr": plain | {"hole_psnr": 0.05, "narrow_psnr": 0.05} | around | {"band_psnr": 0.1},
        "inside_psnr": plain | {"inside_psnr": 0.15} | around,
        "inside_width_psnr": plain | {"inside_psnr": 0.12, "narrow_psnr": 0.03} | around,
    } == LOSSES


@pytest.mark.parametrize("name", LOSSES)
def test_equal_static_frames_have_a_loss_of_0(name):
    still = video(1, 64, 64).expand(12, 3, 64, 64)
    terms = create_loss(name, perceptual=tiny_perceptual())(still, still, box())
    assert {k: v.item() for k, v in terms.items()} == pytest.approx(dict.fromkeys(terms, 0.0), abs=1e-9)


def test_gradient_in_a_hole_shrinks_with_its_area_only_without_hole_terms():
    def pull(name, last):
        target = torch.zeros(12, 3, 64, 64)
        output = target.masked_fill(box(last=last), 0.5).requires_grad_(True)
        sum(create_loss(name)(output, target, box(last=last)).values()).backward()
        return output.grad.abs().sum().item()

    small, large = 24, 60  # 16 and 1600 pixels
    assert pull("temporal_l1", large) / pull("temporal_l1", small) == pytest.approx(100, rel=0.01)
    assert pull("hole_l1", large) / pull("hole_l1", small) < 2


def test_hole_terms_are_means_over_the_pixels_of_the_holes():
    output, target = pair(requires_grad=False)
    holes = box()
    inside = (slice(None), slice(None), slice(20, 30), slice(20, 30))
    for name in TEMPORAL:
        cut = term(name, output[inside], target[inside], holes[inside])
        assert term(f"hole_{name}", output, target, holes).item() == pytest.approx(cut.item(), rel=1e-5)


def test_inside_terms_leave_out_two_pixels_at_the_left_edge_of_each_hole():
    y = torch.rand(12, 3, 24, 32)
    holes = torch.zeros(12, 1, 24, 32, dtype=torch.bool)
    holes[..., 4:8, 5:12] = True
    at_edge, inside = y.clone(), y.clone()
    at_edge[..., 4:8, 5:7] = 1 - y[..., 4:8, 5:7]
    inside[..., 4:8, 7] = 1 - y[..., 4:8, 7]
    assert term("inside_l1", at_edge, y, holes) == 0 and term("hole_l1", at_edge, y, holes) > 0
    error = (1 - 2 * y[..., 4:8, 7]).abs().mean() * 1.001
    assert term("inside_l1", inside, y, holes).item() == pytest.approx(error.item() / 5, rel=1e-5)
    assert term("inside_l1", inside, y, torch.zeros_like(holes)) == 0


def test_narrow_terms_count_the_holes_that_evaluation_calls_narrow_and_no_others():
    holes = torch.rand(2, 1, 24, 40) < 0.85
    expected = (hole_widths(holes) > 0) & (hole_widths(holes) <= WIDTHS["0-8"][1])
    assert expected.any() and (holes & ~expected).any()
    y = torch.zeros(2, 3, 24, 40)
    for where, loss in ((expected, 4.5), (~expected, 0)):
        z = torch.where(where, 1.0, y)
        assert term("narrow_psnr", z, y, holes).item() == pytest.approx(loss, abs=1e-3)


def test_band_terms_count_the_pixels_around_a_hole_and_no_others():
    holes = torch.zeros(3, 1, 40, 40, dtype=torch.bool)
    holes[..., 20, 15] = True
    y = torch.zeros(3, 3, 40, 40)
    for (row, column), counts in {(20, 15): 1, (20, 23): 1, (28, 7): 1, (20, 24): 0, (11, 15): 0}.items():
        z = y.clone()
        z[..., row, column] = 0.5
        found = term("band_l1", z, y, holes)
        assert found.item() == pytest.approx(counts * 0.5 * 1.001 / 17**2, abs=1e-7)


@pytest.mark.parametrize("psnr", [10, 20, 40])
def test_psnr_terms_are_the_tens_of_decibels_that_miss_to_the_best(psnr):
    holes, y = box(), torch.full((12, 3, 64, 64), 0.5)
    z = y + 10 ** (-psnr / 20) * torch.where(holes, 1, 3)  # three times the error outside
    limit = 10 * math.log10(10 ** (-psnr / 10) + 10**-4.5)  # the MSE's lower bound counts near the best
    assert term("hole_psnr", z, y, holes).item() == pytest.approx(4.5 + limit / 10, abs=1e-4)


def test_a_sequence_that_nobody_can_predict_pulls_no_more_than_another_under_psnr():
    holes, y = box(), torch.full((12, 3, 64, 64), 0.5)

    def pull(name, error):  # for a change of a hundredth of the error
        z = (y + error).requires_grad_()
        term(name, z, y, holes).backward()
        return z.grad.abs().sum().item() * error

    assert pull("hole_psnr", 0.3) == pytest.approx(pull("hole_psnr", 0.03), rel=0.05)
    assert pull("hole_l1", 0.3) == pytest.approx(10 * pull("hole_l1", 0.03), rel=0.05)


def test_moving_holes_count_in_every_frame_pair_that_they_touch():
    output, target = torch.rand(3, 3, 4, 4), torch.rand(3, 3, 4, 4)
    holes = torch.zeros(3, 1, 4, 4, dtype=torch.bool)
    holes[0, 0, 0, 0] = holes[1, 0, 1, 1] = holes[2, 0, 2, 2] = True
    error = ((output[1:] - output[:-1]) - (target[1:] - target[:-1])).abs()
    pixels = [error[0, :, 0, 0], error[0, :, 1, 1], error[1, :, 1, 1], error[1, :, 2, 2]]
    assert temporal_gradient(output, target, holes).item() == pytest.approx(torch.cat(pixels).mean().item())


def test_moving_holes_count_in_every_three_frames_that_they_touch():
    output = torch.rand(4, 3, 4, 4)
    holes = torch.zeros(4, 1, 4, 4, dtype=torch.bool)
    for frame in range(4):
        holes[frame, 0, frame, frame] = True
    bent = (output[:-2] - 2 * output[1:-1] + output[2:]).square()
    pixels = [bent[first, :, frame, frame] for first in (0, 1) for frame in range(first, first + 3)]
    assert temporal_smoothing(output, holes).item() == pytest.approx(torch.cat(pixels).mean().item())


def test_values_outside_of_0_to_1_differ_by_a_thousandth():
    z, y = (torch.full((2, 3, 4, 4), value) for value in (3.0, 2.0))
    assert clamp_l1(z, y).item() == clamp_l1(-z, -y).item() == pytest.approx(0.001)


def test_values_outside_of_0_to_1_are_clipped_before_the_psnr():
    holes = box()
    z, y = ((0.5 + sign * torch.where(holes, 3.0, 0)).expand(12, 3, 64, 64) for sign in (1, -1))
    assert term("hole_psnr", z, y, holes).item() == pytest.approx(4.5, abs=1e-4)  # white is not black
    assert term("hole_psnr", z, z * 2, holes).item() == pytest.approx(0, abs=1e-4)


def test_no_hole_gives_0_and_a_tiny_hole_little():
    error = torch.ones(12, 3, 64, 64)
    none = torch.zeros(12, 1, 64, 64, dtype=torch.bool)
    speck = none.clone()
    speck[0, 0, 0, 0] = True
    assert mean(error, none).item() == 0
    assert mean(error, speck).item() == pytest.approx(1000 / (12 * 64 * 64))
    assert mean(error, ~none).item() == 1


def test_without_a_generator_the_loss_is_the_same_every_time():
    output, target = pair(requires_grad=False)
    criterion = create_loss("dct")
    assert criterion(output, target, box()) == criterion(output, target, box())


def test_the_angles_depend_on_the_generator_alone():
    output, target = pair(requires_grad=False)
    criterion = create_loss("dct")

    def value(seed):
        torch.seed()
        return criterion(output, target, box(), torch.Generator().manual_seed(seed))["dct_whole"].item()

    assert value(1) == value(1) != value(2)


def test_where_no_number_is_given_lpips_is_computed_on_twelve_frames_as_in_iw3():
    for loss in (create_loss("l1lpips", perceptual=tiny_perceptual()), Loss({"lpips": 1.0})):
        frames = torch.arange(30.0).view(30, 1, 1, 1)
        chosen = loss._chosen((frames, frames), torch.Generator().manual_seed(0))[0]
        assert len(chosen.unique()) == 12


def test_lpips_of_some_frames_has_the_mean_of_all_frames():
    output, target = pair(requires_grad=False)
    whole = create_loss("temporal_l1lpips", perceptual=tiny_perceptual())
    some = create_loss("temporal_l1lpips", lpips_frames=3, perceptual=tiny_perceptual())
    gen = torch.Generator().manual_seed(0)
    draws = [some(output, target, box(), gen)["lpips"].item() for _ in range(40)]
    full = whole(output, target, box())["lpips"].item()
    assert min(draws) < full < max(draws)
    assert np.mean(draws) == pytest.approx(full, abs=3 * np.std(draws) / 40**0.5)
    assert some(output, target, box())["lpips"].item() == pytest.approx(full)


@pytest.mark.parametrize("name", ["band_l1lpips", "temporal_l1dctlpips", "dct"])
@pytest.mark.parametrize("size", [64, 56])  # with and without padding to a multiple of 16
def test_the_terms_of_a_sequence_are_the_same_beside_others(name, size):
    loss = create_loss(name, lpips_frames=3, perceptual=tiny_perceptual())
    output, target = (part[..., :size, :size].detach() for part in pair())
    holes = box()[..., :size, :size]
    sequences = [(output, target, holes), (output.flip(0), target, holes.flip(-1)), (target, output, holes)]
    gens = [[torch.Generator().manual_seed(seed) for seed in (1, 2, 3)] for _ in range(2)]
    together = loss.each(sequences, gens[0])
    for found, sequence, gen in zip(together, sequences, gens[1], strict=True):
        expected = loss(*sequence, gen)
        assert [*found] == [*expected]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)


def test_half_precision_outputs_are_compared_in_single_precision():
    output, target = pair(requires_grad=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = create_loss("dct")(output, target, box())
    assert all(v.dtype == torch.float32 for v in terms.values())
    assert terms == create_loss("dct")(output, target, box())
    assert terms["dct_4"].item() == pytest.approx(0.2 * dct_loss(output, target, 4).item(), rel=1e-6)
    half = create_loss("temporal_l1")(output.bfloat16(), target, box())
    assert half["l1"].item() == pytest.approx(0.8 * clamp_l1(output.bfloat16().float(), target).item())


def test_the_dct_is_orthonormal_and_maps_a_cosine_to_one_coefficient():
    x = torch.rand(2, 4, 12, 20)
    assert dct(x).square().sum().item() == pytest.approx(x.square().sum().item(), rel=1e-5)
    wave = torch.cos(torch.pi / 20 * 3 * (torch.arange(20) + 0.5)).expand(12, 20)
    found = dct(wave)
    assert found[0, 3].item() == pytest.approx((12 * 10) ** 0.5, rel=1e-5)
    assert found.abs().sum().item() == pytest.approx(found[0, 3].item(), rel=1e-4)


def test_training_works_after_an_evaluation_in_inference_mode():
    output, target = torch.rand(2, 3, 40, 40), torch.rand(2, 3, 40, 40)
    with torch.inference_mode():
        dct_loss(output, target, rotated=True)
    output.requires_grad_(True)
    dct_loss(output, target, rotated=True).backward()
    assert output.grad.isfinite().all()


@pytest.mark.parametrize(
    ("size", "padded"),
    [((40, 56), (48, 64)), ((36, 51), (48, 64)), ((36, 64), (48, 64)), ((48, 51), (48, 64)), ((47, 63), (48, 64))],
)
def test_frames_of_any_size_are_padded_by_reflections_without_gradient(size, padded):
    output, target = torch.rand(3, 3, *size, requires_grad=True), torch.rand(3, 3, *size)
    holes = torch.ones(3, 1, *size, dtype=torch.bool)
    terms = Loss({"l1": 1.0, "hole_l1": 1.0, "lpips": 1.0}, perceptual=tiny_perceptual())(output, target, holes)
    terms["l1"].backward(retain_graph=True)
    assert output.grad.abs().amax().item() == pytest.approx(1.001 / (3 * 3 * padded[0] * padded[1]), rel=1e-4)
    assert terms["hole_l1"].item() == pytest.approx(clamp_l1(output, target).item(), rel=1e-5)
