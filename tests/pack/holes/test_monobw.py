import numpy as np
import pytest
import torch

from pack.holes import monobw, monobw_rows
from pack.holes.monobw import backward_warp, inverse_map, moved_holes
from tests.support import GOLDEN
from tests.support.golden_formulas import video

NUMBERS = np.load(GOLDEN / "monobw.npz")
NAMES = sorted(name.removesuffix("_mask") for name in NUMBERS.files if name.endswith("_mask"))


@pytest.fixture(params=["rows", "tensors"])
def method(request, monkeypatch):
    """Each of the two methods: compiled rows, and tensor operations as on a GPU."""
    if request.param == "tensors":
        monkeypatch.setattr(monobw, "uses_rows", lambda _: False)
    return request.param


def golden_depth(height, width):  # -> (1 1 H W)
    i, j = np.mgrid[:height, :width].astype(np.float64)
    depth = 0.5 + 0.3 * np.sin(0.11 * j + 0.04 * i) * np.cos(0.05 * i)
    steps = 0.2 * np.sign(np.sin(0.07 * j - 0.13 * i + 0.9))
    return torch.from_numpy(np.clip(depth + steps, 0, 1)).float()[None, None]


def golden_case(name):
    """(frame, depth), (divergence, convergence, keep_border, clear) of a golden case."""
    _, frame, depth, divergence, convergence, clear, keep = name.split("_")
    frame, depth = ([int(side) for side in size.split("x")] for size in (frame, depth))
    options = float(divergence[1:]), float(convergence[1:]), keep == "k1", int(clear[1:])
    return (video(1, *frame), golden_depth(*depth)), options


@pytest.mark.parametrize("name", NAMES)
def test_eyes_and_holes_are_the_golden_ones(name, method):
    images, options = golden_case(name)
    eye, holes = backward_warp(*images, *options)
    assert holes.dtype == torch.bool and torch.equal(holes[0, 0], torch.from_numpy(NUMBERS[f"{name}_mask"]))
    torch.testing.assert_close(eye[0, :, ::3, ::3], torch.from_numpy(NUMBERS[f"{name}_eye_s"]), rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_inverse_maps_are_the_golden_ones(name):
    (_, depth), (divergence, convergence, keep_border, _) = golden_case(name)
    back = inverse_map(depth, divergence, convergence, keep_border)[0, 0, ::2, ::2]
    torch.testing.assert_close(back, torch.from_numpy(NUMBERS[f"{name}_back_s"]), rtol=0, atol=1e-3)


def random_images(seed, batch=2):  # -> (B 3 H W), (B 1 h w)
    gen = torch.Generator().manual_seed(seed)
    height, width = (int(torch.randint(low, high, (), generator=gen)) for low, high in ((1, 6), (3, 400)))
    depth = torch.rand(batch, 1, height, width, generator=gen)
    if seed % 3 == 1:  # flat layers with thin ones before them
        wide = torch.rand(batch, 1, height, width // 60 + 1, generator=gen).repeat_interleave(60, -1)[..., :width]
        depth = torch.where(depth > 0.97, 1.0, wide)
    if seed % 3 == 2:  # many equal values
        depth = (depth * 4).round() / 4
    size = (height, width) if seed % 2 else (2 * height, width + 31)
    return torch.rand(batch, 3, *size, generator=gen), depth


@pytest.mark.parametrize("seed", range(24))
def test_rows_and_tensors_give_the_same_holes_and_eyes(seed, monkeypatch):
    frame, depth = random_images(seed)
    options = (2.0, 5.0, 15.0, 100.0)[seed % 4], (0.0, 0.5, 1.0)[seed % 3], seed % 5 == 0, seed // 4 % 3
    eye, holes = backward_warp(frame, depth, *options)
    monkeypatch.setattr(monobw, "uses_rows", lambda _: False)
    expected, expected_holes = backward_warp(frame, depth, *options)
    assert torch.equal(holes, expected_holes)
    torch.testing.assert_close(eye, expected, rtol=0, atol=1e-4)  # grid_sample rounds the rows' positions, too


@pytest.mark.parametrize("column", [0, 1, 20, 38])
def test_a_single_fold_is_smoothed_wherever_it_is(column, monkeypatch):
    depth = torch.zeros(1, 1, 1, 40)
    depth[..., column] = 1  # lands 2 columns ahead, beyond its right neighbour
    eye, holes = backward_warp(depth, depth, 10, 0)
    monkeypatch.setattr(monobw, "uses_rows", lambda _: False)
    expected, expected_holes = backward_warp(depth, depth, 10, 0)
    assert torch.equal(holes, expected_holes)
    torch.testing.assert_close(eye, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_rows_and_tensors_agree_on_the_narrowest_frames(width, monkeypatch):
    gen = torch.Generator().manual_seed(width)
    frame, depth = torch.rand(1, 3, 5, width, generator=gen), torch.rand(1, 1, 5, width, generator=gen)
    eye, holes = backward_warp(frame, depth, 60, 0.3)
    monkeypatch.setattr(monobw, "uses_rows", lambda _: False)
    expected, expected_holes = backward_warp(frame, depth, 60, 0.3)
    assert torch.equal(holes, expected_holes)
    torch.testing.assert_close(eye, expected, rtol=0, atol=1e-5)


def test_a_fold_is_what_lands_before_an_earlier_column_and_no_more():
    """Columns that land on the same place as an earlier one, beside a fold or alone, are not in it."""
    values = np.array([0, 1, 1, 5, 4, 5, 6, 9, 7, 8], np.float32)
    falls, folds = np.zeros(16, np.uint8), np.empty((10, 2), np.int64)
    count = monobw_rows._unfold(values, falls, folds)
    assert folds[:count].tolist() == [[4, 5], [8, 10]] and values.tolist() == [0, 1, 1, 5, 5, 5, 6, 9, 9, 9]


def test_in_rows_that_fall_the_binary_search_of_torch_decides():
    gen = np.random.default_rng(0)
    for width in [*range(1, 40)] * 8:
        forward = gen.integers(-1, 4, width).astype(np.float32) + np.arange(width, dtype=np.float32) // 3
        found = np.empty(width + 1, np.uint32)
        monobw_rows._find_in_unsorted(forward, np.full(width, np.inf, np.float32), found)
        expected = torch.searchsorted(torch.from_numpy(forward), torch.arange(width, dtype=torch.float32))
        assert found[:width].tolist() == expected.tolist()


def test_images_of_a_batch_are_warped_independently(method):
    frame, depth = random_images(0, batch=3)
    eye, holes = backward_warp(frame, depth, 12, 0.5)
    alone = [backward_warp(frame[b : b + 1], depth[b : b + 1], 12, 0.5) for b in range(3)]
    torch.testing.assert_close(eye, torch.cat([eye for eye, _ in alone]))
    assert holes.any() and torch.equal(holes, torch.cat([holes for _, holes in alone]))


def test_a_flat_depth_moves_the_frame_without_holes(method):
    frame = video(1, 20, 101)
    for nearness, moved in ((0.5, 0), (1.0, 4), (0.0, -4)):  # columns to the right in the left eye
        eye, holes = backward_warp(frame, torch.full((1, 1, 20, 101), nearness), 16, 0.5, clear=2)
        assert not holes.any()
        inner = slice(10, 90)
        expected = frame.roll(moved, -1)[..., inner]
        torch.testing.assert_close(eye[..., inner], expected, rtol=0, atol=1e-4)


def test_a_depth_of_mirrored_noncontiguous_images_is_read_as_it_is_seen(method):
    (frame, depth), options = golden_case("low_144x256_72x128_d12.0_c0.5_f2_k0")
    views = frame.transpose(-1, -2).contiguous().transpose(-1, -2), depth.flip(-1).expand(2, -1, -1, -1)
    plain = frame.flip(-1).contiguous(), depth.flip(-1).contiguous()
    eye, holes = backward_warp(views[0].flip(-1).expand(2, -1, -1, -1), views[1], *options)
    expected, expected_holes = backward_warp(*plain, *options)
    assert torch.equal(holes, expected_holes.expand(2, -1, -1, -1))
    torch.testing.assert_close(eye, expected.expand(2, -1, -1, -1), rtol=0, atol=1e-6)


def test_the_right_eye_by_flipping_uncovers_the_other_side_of_a_near_box(method):
    depth, frame = torch.zeros(1, 1, 8, 120), torch.rand(1, 3, 8, 120, generator=torch.Generator().manual_seed(0))
    depth[..., 50:70] = 1
    _, left = backward_warp(frame, depth, 20, 0)  # the box moves by 11.9 columns to the right
    right = backward_warp(frame.flip(-1), depth.flip(-1), 20, 0)[1].flip(-1)
    (left_x,), (right_x,) = (holes[0, 0, 0].nonzero(as_tuple=True) for holes in (left, right))
    assert left_x.min() >= 48 and left_x.max() <= 64
    assert torch.equal(right_x, (119 - left_x).flip(0))


def test_holes_at_the_sides_are_cleared_only_where_asked(method):
    frame, depth = random_images(0)  # noise: holes everywhere
    masks = [backward_warp(frame, depth, 10, 0.5, clear=clear)[1] for clear in (0, 1, 2)]
    border = round(0.1 * depth.shape[-1]) + 1
    assert masks[0][..., :border].any() and masks[0][..., -border:].any()
    assert not masks[1][..., :border].any() and torch.equal(masks[1][..., border:], masks[0][..., border:])
    assert not masks[2][..., -border:].any() and torch.equal(masks[2][..., :-border], masks[1][..., :-border])
    kept = [backward_warp(frame, depth, 10, 0.5, keep_border=True, clear=clear)[1] for clear in (0, 2)]
    assert torch.equal(*kept)


def test_by_itself_a_warp_clears_both_sides_and_moves_the_border(method):
    frame, depth = random_images(0)
    warp, size = (depth, 10, 0.5), frame.shape[-2:]
    assert torch.equal(backward_warp(frame, *warp)[1], backward_warp(frame, *warp, keep_border=False, clear=2)[1])
    assert torch.equal(moved_holes(depth, size, 10, 0.5), moved_holes(depth, size, 10, 0.5, clear=2))
    assert torch.equal(inverse_map(*warp), inverse_map(*warp, keep_border=False))


def test_a_depth_of_nan_does_not_read_outside_the_frame(method):
    depth = torch.rand(1, 1, 4, 50, generator=torch.Generator().manual_seed(0))
    depth[0, 0, 1, 10:20], depth[0, 0, 2, 30], depth[0, 0, 3, 5] = torch.nan, torch.inf, -torch.inf
    eye, _ = backward_warp(torch.ones(1, 3, 4, 50), depth, 10, 0.5)
    assert torch.equal(eye[0, :, 0], torch.ones(3, 50))


def test_other_types_of_numbers_and_autocast_give_the_same_holes(method):
    frame, depth = random_images(3)
    eye, holes = backward_warp(frame, depth, 10, 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(backward_warp(frame.half(), depth, 10, 0.5)[1], holes)
    assert eye.dtype == torch.float32


def test_rows_and_tensors_have_the_same_constants():
    assert monobw_rows.WIDENED == monobw.WIDENED and np.float32(monobw.EPSILON) == monobw_rows.EPSILON


@pytest.mark.parametrize("seed", range(12))
def test_rows_and_tensors_move_holes_to_the_same_places(seed, monkeypatch):
    frame, depth = random_images(seed)
    options = tuple(frame.shape[-2:]), (2.0, 5.0, 15.0)[seed % 3], (0.0, 0.5, 1.0)[seed // 3 % 3], seed // 4 % 3
    holes = moved_holes(depth, *options)
    monkeypatch.setattr(monobw, "uses_rows", lambda _: False)
    assert holes.dtype == torch.bool and torch.equal(holes, moved_holes(depth, *options))


def test_a_moved_hole_has_the_width_of_the_hole_in_use_and_begins_beside_what_is_near(method):
    depth = torch.zeros(1, 1, 4, 200)
    depth[..., 60:100] = 1
    for convergence in (0.0, 0.5, 1.0):  # which moves the eye, not the frame
        in_use = backward_warp(depth, depth.flip(-1), 20, convergence, clear=2)[1].flip(-1)
        moved = moved_holes(depth, (4, 200), 20, convergence, clear=2)
        first, last = (moved[0, 0, 2].nonzero()[index].item() for index in (0, -1))
        assert moved.sum() == in_use.sum() and abs(last - first + 1 - 21) <= 2  # half of 20 percent of 200 pixels
        assert first in (99, 100) and moved[0, 0, 2, first : last + 1].all()


def test_nothing_is_moved_beyond_the_frame(method):
    depth = torch.zeros(1, 1, 3, 60)
    depth[..., 40:58] = 1
    assert moved_holes(depth, (3, 60), 30, 1.0, clear=0)[..., 56:].any()
    assert moved_holes(depth, (6, 120), 30, 0.0, clear=0).shape == (1, 1, 6, 120)
