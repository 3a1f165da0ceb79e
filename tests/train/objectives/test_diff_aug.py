import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.support.golden_formulas import video
from train.objectives.diff_aug import diff_aug, margin, rotate, rotate_holes, spin, translate, translate_holes

GOLDEN = np.load("tests/golden/diff_aug.npz")


def first_frame(x):
    return x[:1].numpy()


def generators(n=60):
    return [torch.Generator().manual_seed(seed) for seed in range(n)]


def a_clip():
    holes = torch.zeros(12, 1, 48, 64, dtype=torch.bool)
    holes[..., 10:30, 20:40] = True
    return video(12, 48, 64), video(13, 48, 64)[1:], holes


@pytest.mark.parametrize(("name", "degrees"), [("rot15", 15.0), ("rot-7.5", -7.5)])
def test_rotation_is_that_of_iw3(name, degrees):
    np.testing.assert_allclose(first_frame(rotate(video(2, 48, 64), degrees)), GOLDEN[name], atol=2e-5)


def test_rotation_on_a_wider_canvas_is_that_of_iw3():
    py, px = margin(48), margin(64)
    found = spin(F.pad(video(2, 48, 64), (px, px, py, py)), 45.0)
    assert list(found.shape) == GOLDEN["rot45_expand_shape"].tolist()
    np.testing.assert_allclose(first_frame(found[..., ::2, ::2]), GOLDEN["rot45_expand_zeros"], atol=2e-5)


@pytest.mark.parametrize(("name", "dx", "dy"), [("tr_x5_y-3", 5, -3), ("tr_x-8_y8", -8, 8)])
def test_translation_is_that_of_iw3(name, dx, dy):
    np.testing.assert_array_equal(first_frame(translate(video(2, 48, 64), dx, dy)), GOLDEN[name])


def test_each_frame_can_have_its_own_angle():
    x = video(3, 20, 30)
    together = spin(x, torch.tensor([10.0, -50.0, 0.0]))
    alone = [spin(x[i : i + 1], degrees) for i, degrees in enumerate((10.0, -50.0, 0.0))]
    torch.testing.assert_close(together, torch.cat(alone))


def test_holes_are_shifted_with_the_frames():
    frames, _, holes = a_clip()
    marked = frames.masked_fill(holes, 2)
    for dx, dy in ((5, -3), (-8, 8), (0, 0)):
        assert torch.equal(translate_holes(holes, dx, dy), (translate(marked, dx, dy) == 2)[:, :1])


def test_holes_are_rotated_with_the_frames():
    frames, _, holes = a_clip()
    marked = torch.zeros_like(frames).masked_fill(holes, 1)
    for degrees in (15.0, -7.5):
        turned, found = rotate(marked, degrees)[:, :1], rotate_holes(holes, degrees)
        assert found.dtype == torch.bool and found.any()
        assert (turned[found] > 0.2).all() and (turned[~found] < 0.8).all()


def test_uncovered_borders_are_no_holes():
    holes = torch.ones(2, 1, 48, 64, dtype=torch.bool)
    moved = translate_holes(holes, 5, -3)
    assert not moved[..., :5].any() and not moved[..., -3:, :].any() and moved[..., :-3, 5:].all()
    turned = rotate_holes(holes, 15.0)
    assert not turned[..., 0, 0].any() and turned[..., 24, 32].all()


def test_output_and_target_are_transformed_alike():
    output, _, holes = a_clip()
    for gen in generators():
        a, b, moved = diff_aug(output, output.clone(), holes, gen)
        assert torch.equal(a, b) and a.shape == output.shape and moved.shape == holes.shape


def test_a_third_each_is_shifted_rotated_and_unchanged():
    output, target, holes = a_clip()
    whole_pixels = set(output.unique().tolist())
    kinds = {"left": 0, "shifted": 0, "turned": 0}
    for gen in generators(90):
        moved, _, _ = diff_aug(output, target, holes, gen)
        if moved is output:
            kinds["left"] += 1
        elif set(moved[:1, :1, ::8, ::8].flatten().tolist()) <= whole_pixels:
            kinds["shifted"] += 1
        else:
            kinds["turned"] += 1
    assert all(18 <= count <= 42 for count in kinds.values())  # 30 expected, standard deviation 4.5


def test_the_result_depends_on_the_generator_alone():
    clip = a_clip()
    for seed in range(6):
        first = diff_aug(*clip, torch.Generator().manual_seed(seed))
        torch.seed()
        again = diff_aug(*clip, torch.Generator().manual_seed(seed))
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_reflections_carry_no_gradient():
    x = torch.rand(2, 3, 48, 64, requires_grad=True)
    translate(x, 8, 8).sum().backward()
    wanted = torch.ones_like(x)
    wanted[..., -8:, :] = wanted[..., -8:] = 0  # moved out of view; its reflections inside do not count twice
    assert torch.equal(x.grad, wanted)
    x.grad = None
    rotate(x, 15.0).sum().backward()
    assert x.grad.amax() < 1.2  # a reflected border pixel would be counted up to twice
