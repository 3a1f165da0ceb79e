import numpy as np
import pytest
import torch

from model.morphology import dilate_inner, dilate_outer
from pack.holes.kinds import KINDS, MASKS
from tests.support.training.trainings import one_thread  # noqa: F401
from tools import stereo
from tools.synthesis.warps import grown
from train.data.crop import (
    AugmentParams,
    Use,
    as_used,
    augment_masks,
    choose_tile,
    cut,
    depth_pixel,
    dilate_rows,
    draw_params,
    frame_indexes,
    use_of,
)
from train.data.looks import Look
from train.runtime.seeds import generator

COUNT = 20_000


@pytest.fixture(scope="module")
def drawn():
    """The draws of many slots of one epoch."""
    return [draw_params(generator(7, 3, slot, "crop")) for slot in range(COUNT)]


def fixed(**changes):
    """AugmentParams that change nothing but what is named."""
    plain = {"reverse": False, "start": 0.0, "jitter": None, "outer": 0, "inner": 0, "tiles": ((0.0, 0.0),) * 4}
    return AugmentParams(**(plain | changes))


def chi2(values, shares):  # of counts by value, and how many degrees of freedom it has
    counts = np.array([values.count(value) for value in shares])
    expected = len(values) * np.array(list(shares.values()))
    assert counts.sum() == len(values)
    return ((counts - expected) ** 2 / expected).sum(), len(shares) - 1


def assert_shares(values, shares):
    """The values come in these shares, as far as chance lets them: 5 standard deviations of chi2."""
    distance, freedom = chi2(values, shares)
    assert distance < freedom + 5 * (2 * freedom) ** 0.5


def assert_uniform(values, low, high):
    """Kolmogorov and Smirnov would reject 1 in 10,000 of such samples."""
    values = np.sort((np.array(values) - low) / (high - low))
    assert values[0] >= 0 and values[-1] < 1
    steps = np.arange(len(values) + 1) / len(values)
    distance = max((values - steps[:-1]).max(), (steps[1:] - values).max())
    assert distance < 2.23 / len(values) ** 0.5


def test_half_of_all_clips_run_backwards(drawn):
    assert_shares([d.reverse for d in drawn], {True: 0.5, False: 0.5})


def test_every_start_of_a_clip_is_as_likely_in_both_directions(drawn):
    forward = [frame_indexes(16, 12, d)[0] for d in drawn if not d.reverse]
    backward = [frame_indexes(16, 12, d)[0] for d in drawn if d.reverse]
    assert_shares(forward, dict.fromkeys(range(5), 0.2))
    assert_shares(backward, dict.fromkeys(range(11, 16), 0.2))


def test_colours_stay_in_half_of_all_slots_and_one_in_forty_is_gray(drawn):
    kinds = ["none" if d.jitter is None else "gray" if d.jitter == "gray" else "scaled" for d in drawn]
    assert_shares(kinds, {"none": 0.5, "gray": 0.025, "scaled": 0.475})


def test_colours_are_scaled_and_shifted_channel_by_channel_as_in_iw3(drawn):
    scaled = [d.jitter for d in drawn if d.jitter not in (None, "gray")]
    for channel in range(3):
        assert_uniform([scale[channel] for scale, _ in scaled], 0.7, 0.9)
        assert_uniform([bias[channel] / (1 - scale[channel]) for scale, bias in scaled], 0, 1)
    scales = np.array([scale for scale, _ in scaled])
    assert np.abs(np.corrcoef(scales.T) - np.eye(3)).max() < 0.05


def test_holes_grow_as_often_and_as_far_as_in_iw3(drawn):
    assert_shares([d.outer for d in drawn], {0: 0.5} | dict.fromkeys(range(1, 21), 0.5 / 20))
    assert_shares([d.inner for d in drawn], {0: 0.75} | dict.fromkeys(range(1, 5), 0.25 / 4))
    both = [(d.outer > 0, d.inner > 0) for d in drawn]
    assert_shares(both, {(a, b): 0.5 * (0.25 if b else 0.75) for a in (True, False) for b in (True, False)})
    far = [(d.outer > 10, d.inner > 2) for d in drawn if d.outer and d.inner]  # how far is drawn for each side
    assert_shares(far, {(a, b): 0.25 for a in (True, False) for b in (True, False)})
    assert_shares([d.inner > 0 for d in drawn if d.outer > 10], {True: 0.25, False: 0.75})


def test_each_window_lies_anywhere(drawn):
    for window in range(4):
        assert_uniform([d.tiles[window][0] for d in drawn], 0, 1)
        assert_uniform([d.tiles[window][1] for d in drawn], 0, 1)
    corners = np.array([d.tiles for d in drawn]).reshape(COUNT, 8)
    assert np.abs(np.corrcoef(corners.T) - np.eye(8)).max() < 0.04


def test_slots_epochs_and_seeds_draw_for_themselves():
    keys = [(1, 1, 1), (1, 1, 2), (1, 2, 1), (2, 1, 1)]
    assert len({draw_params(generator(*key, "crop")) for key in keys}) == 4
    assert draw_params(generator(1, 1, 1, "crop")) == draw_params(generator(1, 1, 1, "crop"))
    starts = np.array(
        [[draw_params(generator(1, epoch, slot, "crop")).start for slot in range(1000)] for epoch in (1, 2)]
    )
    assert abs(np.corrcoef(starts)[0, 1]) < 0.1


def test_draws_are_the_same_in_every_version_because_resumed_runs_continue_them():
    drawn = draw_params(generator(1, 1, 5, "crop"))
    numbers = [drawn.start, *drawn.jitter[0], *drawn.jitter[1], *drawn.tiles[0], *drawn.tiles[3]]
    expected = (
        "0.6645523429 0.7116213302 0.8833693323 0.7629164139 0.2194091076 0.0926963150 0.1736925138 "
        "0.6196923198 0.2660422561 0.1901759255 0.7932179855"
    )
    assert numbers == pytest.approx([float(number) for number in expected.split()])
    assert (drawn.reverse, drawn.outer, drawn.inner, drawn.look) == (True, 11, 0, None)
    strong = draw_params(generator(1, 1, 5, "crop"), strong=True)
    assert strong.tiles == drawn.tiles and strong.look.blur == pytest.approx(0.7622634760271694)


def test_frames_are_consecutive_in_either_direction():
    assert frame_indexes(16, 12, fixed(start=0.99)) == list(range(4, 16))
    assert frame_indexes(16, 12, fixed(start=0.99, reverse=True)) == list(range(11, -1, -1))
    assert frame_indexes(16, 12, fixed(reverse=True)) == list(range(15, 3, -1))


@pytest.mark.parametrize(("available", "start"), [(12, 0), (13, 0), (15, 1), (16, 2), (24, 6)])
def test_evaluation_takes_the_frames_in_the_middle(available, start):
    assert frame_indexes(available, 12, None) == list(range(start, start + 12))


def test_too_few_frames_are_told_with_both_numbers():
    with pytest.raises(ValueError, match="found 11 frames, expected at least 12"):
        frame_indexes(11, 12, fixed())


def brute_force(masks, side, windows):
    """The first of the windows with the largest sum."""
    sums = [int(masks[:, y : y + side, x : x + side].int().sum()) for y, x in windows]
    return windows[sums.index(max(sums))]


def test_evaluation_takes_the_window_with_the_most_hole_of_the_25_at_stride_64():
    gen = torch.Generator().manual_seed(0)
    windows = [(y, x) for y in range(0, 257, 64) for x in range(0, 257, 64)]
    for _ in range(5):
        values = torch.tensor([0, 0, 128, 255], dtype=torch.uint8)
        blocks = values[torch.randint(0, 4, (2, 16, 16), generator=gen)]
        masks = blocks.repeat_interleave(32, 1).repeat_interleave(32, 2)
        assert choose_tile(masks, 256, None) == brute_force(masks, 256, windows)


def test_of_windows_with_as_much_hole_evaluation_takes_the_first_row_by_row():
    masks = torch.zeros(2, 512, 512, dtype=torch.uint8)
    assert choose_tile(masks, 256, None) == (0, 0)
    masks[:, 300:310, 200:210] = 255  # in rows 64 to 256 and columns 0 to 192
    assert choose_tile(masks, 256, None) == (64, 0)
    masks[:, 450, 450] = 255  # in row 256, column 256 alone, and less
    assert choose_tile(masks, 256, None) == (64, 0)


def test_training_takes_the_best_of_the_four_windows_drawn(drawn):
    masks = torch.zeros(3, 100, 120, dtype=torch.uint8)
    masks[:, 40:60, 30:90] = torch.randint(0, 256, (3, 20, 60), generator=torch.Generator().manual_seed(0)).byte()
    for d in drawn[:50]:
        windows = [(int(y * 37), int(x * 57)) for y, x in d.tiles]
        assert choose_tile(masks, 64, d) == brute_force(masks, 64, windows)


def test_a_window_drawn_can_reach_every_border():
    masks = torch.zeros(1, 70, 80, dtype=torch.uint8)
    nearly = 1 - 2**-53
    assert choose_tile(masks, 64, fixed(tiles=((nearly, nearly),) * 4)) == (6, 16)
    assert choose_tile(masks, 64, fixed(tiles=((0.0, 0.0),) * 4)) == (0, 0)


def test_a_half_hole_counts_half_until_holes_have_grown():
    masks = torch.zeros(1, 64, 128, dtype=torch.uint8)
    masks[:, :30, :50] = 128  # 1,500 halves against 900 whole
    masks[:, :30, 98:] = 255
    draws = fixed(tiles=((0.0, 0.0), (0.0, 0.999), (0.0, 0.0), (0.0, 0.999)))
    assert choose_tile(augment_masks(masks, draws), 64, draws) == (0, 64)
    whole = fixed(tiles=draws.tiles, inner=1)
    assert choose_tile(augment_masks(masks, whole), 64, whole) == (0, 0)


def test_holes_grow_to_the_right_by_outer_and_then_to_the_left_by_inner():
    masks = torch.zeros(2, 8, 40, dtype=torch.uint8)
    masks[0, 3, 20], masks[1, 5, 10:12] = 255, 128
    wider = augment_masks(masks, fixed(outer=5, inner=2))
    assert torch.equal(wider > 0, dilate_inner(dilate_outer(masks > 0, 5), 2))
    assert set(wider.unique().tolist()) == {0, 255}
    assert torch.nonzero(wider[0, 3]).flatten().tolist() == list(range(18, 26))


@pytest.mark.parametrize("depth_width", [40, 100, 256])
@pytest.mark.parametrize("kind", KINDS)
def test_holes_as_used_are_those_that_iw3_shows_a_network_in_use(kind, depth_width):
    masks = torch.from_numpy(
        np.random.default_rng(1).choice(np.array([0, 128, 255], np.uint8), (3, 60, 320), p=[0.9, 0.05, 0.05])
    )
    info = {"mask": MASKS[kind], "frame_size": [320, 60], "depth_size": [depth_width, 60]}
    used = augment_masks(masks, as_used(fixed(outer=9, inner=4)), use_of(info))
    film = stereo.Config(video="film.mkv")
    dilation = film.inner_dilation, film.outer_dilation
    assert torch.equal(used > 0, grown(kind, masks[:, None] > 0, *dilation, depth_width)[:, 0])
    assert set(used.unique().tolist()) == {0, 255}


def test_the_pixel_of_a_depth_map_is_that_of_the_record_or_of_a_usual_map():
    assert depth_pixel({"frame_size": [1280, 720], "depth_size": [640, 360]}) == 2
    assert depth_pixel({"frame_size": [1176, 784]}) == depth_pixel({"frame_size": [784, 1176]}) == 2
    assert depth_pixel({}) == depth_pixel({"frame_size": [1e9, "x"], "depth_size": [0, 1]}) == 1


@pytest.mark.parametrize(
    "size",
    [None, "64", {}, [], [640], [640, 360, 1], [640, "360"], [640.0, 360.0], [True, 360], [0, 9], [9, 0], [65536, 9]],
)
def test_a_size_of_a_depth_map_that_is_none_counts_as_missing(size):
    assert depth_pixel({"frame_size": [784, 1176], "depth_size": size}) == 2
    assert depth_pixel({"frame_size": size, "depth_size": [1, 1]}) == 1


def test_sizes_from_one_pixel_to_65535_are_sizes():
    assert depth_pixel({"frame_size": [65535, 1], "depth_size": [1, 65535]}) == 65535


def test_holes_grow_whatever_the_two_sides_are_and_as_used_by_at_most_63_pixels():
    masks = torch.zeros(1, 2, 200, dtype=torch.uint8)
    masks[0, 1, 100] = 255
    reach = {(2, 2): fixed(outer=2, inner=2), (0, 1): fixed(inner=1), (63, 63): as_used(fixed())}
    for (right, left), params in reach.items():
        grown_to = augment_masks(masks, params, Use(100))[0, 1].nonzero().flatten().tolist()
        assert grown_to == list(range(100 - left, 100 + right + 1))


def test_rendered_records_whose_holes_are_those_of_use_stay_as_they_are():
    masks = torch.zeros(1, 8, 40, dtype=torch.uint8)
    masks[0, 3, 20] = 128
    use = use_of({"truth": "rendered", "frame_size": [1280, 720]})
    assert augment_masks(masks, as_used(fixed()), use) is masks


def test_a_sample_is_its_place_in_the_record_with_half_holes_as_holes():
    gen = np.random.default_rng(0)
    frames = gen.integers(0, 256, (12, 90, 100, 3), dtype=np.uint8)
    masks = gen.choice(np.array([0, 128, 255], np.uint8), (12, 90, 100))
    draws = fixed(tiles=((0.5, 0.25), (0.9, 0.9), (0.1, 0.1), (0.3, 0.6)))
    tile = cut(lambda box: frames[:, box[1] : box[3], box[0] : box[2]], masks, 64, draws)
    (y, x), holes = tile.corner, tile.holes
    assert tile.frames.shape == (12, 64, 64, 3) and holes.shape == (12, 64, 64) and holes.dtype == torch.bool
    assert np.array_equal(tile.frames, frames[:, y : y + 64, x : x + 64])
    assert np.array_equal(holes.numpy(), masks[:, y : y + 64, x : x + 64] > 0)


@pytest.mark.parametrize(("side", "shrink"), [(45, 2), (46, 1), (49, 1), (90, 1)])
def test_a_look_that_shrinks_shows_a_tile_of_twice_the_side_where_the_record_holds_one(side, shrink):
    look = Look(2, False, (0, 1, 2), (), 0, 0, 0)
    frames, masks = np.zeros((12, 90, 100, 3), np.uint8), np.zeros((12, 90, 100), np.uint8)
    tile = cut(lambda box: frames[:, box[1] : box[3], box[0] : box[2]], masks, side, fixed(look=look))
    assert tile.look.shrink == shrink and tile.frames.shape == (12, side * shrink, side * shrink, 3)
    assert tile.holes.shape == (12, side * shrink, side * shrink)


def test_evaluation_has_neither_a_look_nor_a_growth_of_holes():
    masks = np.zeros((12, 64, 64), np.uint8)
    masks[:, 9, 9] = 128
    tile = cut(lambda box: np.zeros((12, 64, 64, 3), np.uint8), masks, 64, None)
    assert tile.look is None and np.array_equal(tile.holes, masks > 0)


@pytest.mark.parametrize("width", [1, 40, 64, 72, 129, 512])
def test_rows_are_dilated_as_morphology_says_at_any_width(width):
    gen = torch.Generator().manual_seed(width)
    masks = (torch.rand(2, 9, width, generator=gen) < 0.05) * torch.randint(1, 256, (2, 9, width), generator=gen).byte()
    for outer in (0, 1, 2, 7, 20):
        for inner in (0, 1, 4):
            expected = dilate_inner(dilate_outer(masks > 0, outer), inner)
            assert np.array_equal(dilate_rows(masks.numpy(), outer, inner), expected.numpy())


@pytest.mark.parametrize("width", [64, 65, 130, 520])
def test_holes_at_the_borders_never_reach_the_next_row(width):
    masks = torch.zeros(1, 3, width, dtype=torch.uint8)
    masks[0, 1, [0, -1]] = 255
    assert dilate_rows(masks.numpy(), 63, 63)[0].any(1).tolist() == [False, True, False]


def test_a_tile_larger_than_the_records_is_told_with_one_that_fits():
    for side in (95, 128):
        with pytest.raises(ValueError, match=f"tile {side} does not fit 100x90 records: pass --tile 88 or less"):
            choose_tile(torch.zeros(1, 90, 100, dtype=torch.uint8), side, None)
