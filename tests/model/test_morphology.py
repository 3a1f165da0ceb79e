import numpy as np
import pytest
import torch

from model.morphology import blur_taps, dilate, dilate_inner, dilate_outer, erode, mask_blur, mask_closing
from tests.support import GOLDEN as GOLDEN_FOLDER

GOLDEN = np.load(GOLDEN_FOLDER / "morphology.npz")


def golden(name):  # arrays named *_x2 hold 0, 1, 2 for 0, 0.5, 1
    value = torch.from_numpy(GOLDEN[name])
    return value.float() / 2 if name.endswith("_x2") else value


def mask():  # (64 96) bool
    return golden("mask") > 0


def random_masks(seed, shape):  # bool
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.1


@pytest.mark.parametrize("as_float", [False, True])
def test_closing_has_the_golden_values(as_float):
    holes = mask().float() if as_float else mask()
    assert torch.equal(mask_closing(holes), golden("mask_closing_x2"))


def test_closing_keeps_half_values_as_in_the_golden_mask():
    assert torch.equal(mask_closing(golden("half_x2")), golden("mask_closing_half_x2"))


def test_dilation_then_erosion_has_the_golden_values():
    assert torch.equal(erode(dilate(golden("half_x2"))), golden("closing_n1_x2"))


@pytest.mark.parametrize("n", [1, 3, 7])
def test_growing_to_one_side_has_the_golden_values(n):
    assert torch.equal(dilate_inner(mask(), n).float(), golden(f"inner{n}_x2"))
    assert torch.equal(dilate_outer(mask(), n).float(), golden(f"outer{n}_x2"))


def test_growing_scales_with_the_base_width_and_by_at_least_one_pixel():
    assert torch.equal(dilate_outer(mask(), 3, base_width=32).float(), golden("outer3_base32_x2"))
    assert torch.equal(dilate_inner(mask(), 2, base_width=300).float(), golden("inner2_base300_x2"))
    assert torch.equal(dilate_inner(mask(), 2, base_width=300), dilate_inner(mask(), 1))


def test_growing_counts_one_half_as_a_hole_and_keeps_the_dtype():
    assert torch.equal(dilate_outer(golden("half_x2"), 2), golden("outer2_half_x2"))
    assert dilate_outer(mask(), 2).dtype == torch.bool
    assert dilate_outer(mask().half(), 2).dtype == torch.float16


def test_growing_by_0_returns_the_mask_unchanged():
    half = golden("half_x2")
    assert torch.equal(dilate_outer(half, 0, base_width=32), half)
    assert torch.equal(dilate_inner(half, -1), half)


def test_growing_to_the_left_is_growing_to_the_right_in_a_mirror():
    holes = random_masks(1, (3, 20, 30))
    assert torch.equal(dilate_inner(holes, 4), dilate_outer(holes.flip(-1), 4).flip(-1))


def test_dilating_by_n_is_dilating_n_times_by_1():
    holes = random_masks(2, (2, 1, 17, 23))
    assert torch.equal(dilate(dilate(dilate(holes))), dilate(holes, 3))
    assert torch.equal(erode(erode(~holes)), erode(~holes, 2))
    assert torch.equal(dilate_outer(dilate_outer(holes, 1), 1), dilate_outer(holes, 2))


def test_dilation_is_the_largest_of_nine_neighbours_inside_the_image():
    values = torch.randn(11, 13, generator=torch.Generator().manual_seed(3))
    grown = dilate(values)
    for i in range(11):
        for j in range(13):
            assert grown[i, j] == values[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].max()


def test_erosion_is_dilation_of_the_complement():
    holes = random_masks(4, (1, 15, 19))
    assert torch.equal(erode(~holes), ~dilate(holes))
    assert torch.equal(erode(holes.float(), 2), erode(holes, 2).float())


def test_full_masks_stay_full_at_the_border():
    full = torch.ones(9, 9)
    assert torch.equal(erode(full, 2), full)
    assert torch.equal(mask_blur(full).round(decimals=5), full)


def test_blur_has_the_golden_taps_and_values():
    torch.testing.assert_close(blur_taps(), golden("gauss15"), rtol=0, atol=1e-8)
    torch.testing.assert_close(mask_blur(mask()), golden("mask_blur"), rtol=0, atol=1e-6)


def test_every_operation_treats_leading_axes_as_separate_masks():
    holes = random_masks(5, (2, 3, 24, 20))
    for operation in (dilate, erode, mask_closing, mask_blur, lambda m: dilate_outer(m, 3)):
        alone = torch.stack([torch.stack([operation(m) for m in clip]) for clip in holes])
        torch.testing.assert_close(operation(holes), alone, rtol=0, atol=1e-6)
