import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch

from model.morphology import mask_closing
from pack.holes import forward as holes
from pack.holes import forward_rows as warp_rows
from pack.holes.forward import dilate_edge, edge_weight, forward_warp, half_holes, nonwarp_mask, warp_scale
from tests.support import GOLDEN as GOLDEN_FOLDER
from tests.support import ROOT
from tools.benches.holes import textbook_holes, textbook_mask, textbook_warp

MASKS = np.load(GOLDEN_FOLDER / "nonwarp_mask.npz")
CLOSED = np.load(GOLDEN_FOLDER / "nonwarp_mask_closed.npz")
WARPED = np.load(GOLDEN_FOLDER / "forward_warp.npz")
EDGES = np.load(GOLDEN_FOLDER / "morphology.npz")


def golden_depth(name, height=96, width=160):  # -> (1 1 H W)
    i, j = np.mgrid[:height, :width].astype(np.float64)
    depth = 0.7 * j / (width - 1) + 0.3 * i / (height - 1)
    if name == "sines":
        steps = 0.15 * np.sign(np.sin(0.13 * j - 0.17 * i + 0.4))
        depth = np.clip(0.5 + 0.35 * np.sin(0.21 * j + 0.05 * i) * np.cos(0.09 * i) + steps, 0, 1)
    if name == "boxes":
        depth = 0.1 + 0.1 * i / (height - 1)
        depth[20:70, 30:80] = 0.6 + 0.002 * (j - 30)[20:70, 30:80]
        depth[40:90, 65:70] = 1
        depth[10:85, 110:140] = 0.85 - 0.003 * (i - 10)[10:85, 110:140]
        depth[30:60, 118:128] = 0
    return torch.from_numpy(depth).float()[None, None]


@pytest.fixture(params=["rows", "tensors"])
def method(request, monkeypatch):
    """Each of the two methods: compiled rows, and tensor operations as on a GPU."""
    if request.param == "tensors":
        monkeypatch.setattr(holes, "uses_rows", lambda _: False)
    return request.param


@pytest.mark.parametrize("name", MASKS.files)
def test_masks_are_the_golden_ones_bit_for_bit(name, method):
    depth, view, divergence, convergence = name.split("_")
    mask = nonwarp_mask(golden_depth(depth), float(divergence[1:]), float(convergence[1:]), view)
    assert torch.equal(mask[0, 0] * 2, torch.from_numpy(MASKS[name]).float())


@pytest.mark.parametrize("depth", ["boxes", "sines"])
@pytest.mark.parametrize("view", ["left", "right"])
def test_closed_masks_are_the_golden_ones_bit_for_bit(depth, view, method):
    mask = mask_closing(nonwarp_mask(golden_depth(depth), 12, 0.5, view))[0, 0]
    assert torch.equal(mask * 2, torch.from_numpy(CLOSED[f"{depth}_{view}_closed_x2"]).float())
    assert torch.equal((mask * 255).round().byte(), torch.from_numpy(CLOSED[f"{depth}_{view}_png"]))


@pytest.mark.parametrize("view", ["left", "right"])
def test_a_smaller_depth_is_resized_to_the_frames_as_in_the_golden_masks(view, method):
    depth = torch.cat([golden_depth(name, 48, 80) for name in ("boxes", "sines")])
    mask = nonwarp_mask(depth, 15, 0.3, view, size=(96, 160))[:, 0]
    assert torch.equal(mask * 2, torch.from_numpy(CLOSED[f"lowres_batch_{view}_x2"]).float())


@pytest.mark.parametrize("name", MASKS.files)
def test_the_textbook_implementation_gives_the_golden_masks(name):
    depth, view, divergence, convergence = name.split("_")
    mask = textbook_mask(golden_depth(depth), float(divergence[1:]), float(convergence[1:]), view)
    assert torch.equal(mask[0, 0] * 2, torch.from_numpy(MASKS[name]).float())
    closed = textbook_holes(golden_depth("boxes"), 12, 0.5, view)
    assert torch.equal(closed[0, 0], torch.from_numpy(CLOSED[f"boxes_{view}_closed_x2"]).byte())


def random_depth(kind, shape, gen):  # -> (B 1 H W) in [0, 1]
    depth = torch.rand(shape, generator=gen)
    if kind == "steps":  # many equal values, for the order among them
        return (depth * 4).round() / 4
    if kind == "layers":  # wide flat layers with thin ones before them, for long holes and overtaken pixels
        wide = torch.rand(*shape[:-1], shape[-1] // 60 + 1, generator=gen).repeat_interleave(60, -1)[..., : shape[-1]]
        return torch.where(depth > 0.97, 1.0, wide)
    return depth


@pytest.mark.parametrize("seed", range(24))
def test_rows_tensors_and_the_textbook_implementation_give_the_same_mask(seed, monkeypatch):
    gen = torch.Generator().manual_seed(seed)
    height, width = (int(torch.randint(low, high, (), generator=gen)) for low, high in ((1, 5), (3, 400)))
    depth = random_depth(("noise", "steps", "layers")[seed % 3], (2, 1, height, width), gen)
    divergence = float(torch.rand((), generator=gen)) * (100 if seed % 2 else 8)  # 100: holes wider than the 100 rounds
    convergence = (0.0, 0.5, 1.0, float(torch.rand((), generator=gen)))[seed % 4]
    for view in ("left", "right"):
        expected = textbook_mask(depth, divergence, convergence, view)
        for by_rows in (True, False):
            monkeypatch.setattr(holes, "uses_rows", lambda _, by_rows=by_rows: by_rows)
            assert torch.equal(nonwarp_mask(depth, divergence, convergence, view), expected)
            mirror_image = half_holes(depth.flip(-1), divergence, convergence, view, mirrored=True)
            assert torch.equal(mirror_image.float() / 2, expected)


def test_holes_wider_than_100_pixels_are_filled_by_100_pixels(method):
    depth = torch.zeros(1, 1, 2, 600)
    depth[..., 300:400] = 1
    for divergence in (30, 50):  # shifts by 90 and by 150 pixels
        for view in ("left", "right"):
            expected = textbook_mask(depth, divergence, 0, view)
            assert torch.equal(nonwarp_mask(depth, divergence, 0, view), expected)


def test_of_equally_near_pixels_the_rightmost_is_visible():
    depth = torch.full(
        (1, 1, 1, 100), 0.5 + 2**-22
    )  # moves by 4 and half a rounding step at 32: pixels 13, 14 round up to 18
    image = torch.rand(1, 1, 1, 100, generator=torch.Generator().manual_seed(0))
    expected = textbook_warp(image, depth, 16, 0, "left")
    by_rows = warp_rows._warp(image[0, 0, 0].numpy(), depth[0, 0, 0].numpy(), 0, *warp_scale(100, 16, 0), True)
    by_tensors, _ = forward_warp(image, depth, 16, 0, "left")
    assert torch.equal(by_tensors[..., 4:], expected[..., 4:])
    assert np.array_equal(by_rows, expected[0, 0, 0].numpy())


@pytest.mark.parametrize(("nearness", "pixel"), [(0.5 - 5e-7, 1), (0.5 + 5e-7, 0)])
def test_a_pixel_that_all_but_misses_its_neighbour_still_counts_there_by_1e_5(nearness, pixel, method):
    image = torch.zeros(1, 1, 1, 100)
    image[..., pixel] = 1  # moves by 4e-6 pixels less or more than 4: beside pixel 4 or 5, where its neighbour lands
    warped, _ = forward_warp(image, torch.full_like(image, nearness), 16, 0, "left")
    assert float(warped[..., (5, 4)[pixel]]) == pytest.approx(1e-5, rel=0.01)


@pytest.mark.parametrize("to_left", [True, False])
def test_every_depth_even_nan_moves_a_pixel_to_a_position_inside_the_row(to_left):
    depth = np.array([0.1, np.nan, 0.5, np.inf, -np.inf, 1e30, -1e30], np.float32)
    positions = warp_rows._positions(warp_rows._padded(depth, 3), 7, np.float32(2), np.float32(0.5), to_left)
    assert len(positions) == 13 and positions.min() >= 7 and positions.max() <= 19


@pytest.mark.parametrize("seed", range(60))
def test_a_span_of_a_row_has_the_holes_that_the_whole_row_has_there(seed):
    gen = torch.Generator().manual_seed(seed)
    height, width = 3, int(torch.randint(100, 1500, (), generator=gen))
    depth = random_depth(("noise", "steps", "layers")[seed % 3], (2, 1, height, width), gen)
    if seed % 5 == 4:  # depth need not keep to [0, 1]
        depth = depth * 1.5 - 0.2
    divergence = float(torch.rand((), generator=gen)) * (1, 5, 20, 60)[seed % 4]
    convergence = (0.0, 0.5, 1.0, float(torch.rand((), generator=gen)))[seed // 4 % 4]
    first = torch.randint(0, width, (height,), generator=gen).numpy()
    spans = np.stack((first, np.minimum(first + width // 10, width)), 1)
    spans[1] = 0  # asks for nothing
    for view, mirrored in product(("left", "right"), (False, True)):
        whole = half_holes(depth, divergence, convergence, view, mirrored)
        part = half_holes(depth, divergence, convergence, view, mirrored, spans=spans)
        assert torch.equal(whole, half_holes(depth.flip(-1), divergence, convergence, view, not mirrored))
        for row, (a, b) in enumerate(spans):
            assert torch.equal(part[:, :, row, a:b], whole[:, :, row, a:b])
            assert not part[:, :, row, :a].any() and not part[:, :, row, b:].any()


def test_a_span_of_a_wide_frame_does_not_depend_on_the_whole_row():
    depth = torch.rand(1, 2541, generator=torch.Generator().manual_seed(0)).numpy()
    assert 100 < warp_rows.dependence(depth, *warp_scale(2541, 1.0, 0.5)[1:]) < 200
    assert warp_rows.dependence(depth * np.nan, *warp_scale(2541, 1.0, 0.5)[1:]) == 2541


@pytest.mark.parametrize(
    ("low", "high", "slope", "offset", "pixels"),
    [
        (
            0.25,
            0.5,
            10,
            5,
            93,
        ),  # shifts of -5 to 0: sources move by 7 at most, holes have 25, 3 * 26 + 2 * 7 and 1 more
        (-0.5, 0.5, 10, 5, 148),  # shifts of -10 to 0: 12, 40, 3 * 41 + 2 * 12 + 1
        (0.0, 1.0, 10, 0, 148),  # shifts of 0 to 10: as above, to the other side
        (0.0, 1.0, 100, 0, 508),  # holes of 306, of which REACH counts: 3 * 101 + 2 * 102 + 1
    ],
)
def test_what_influences_a_pixel_is_as_far_as_shifts_and_holes_reach(low, high, slope, offset, pixels):
    depth = np.array([[low, high] * 1000], np.float32)
    assert warp_rows.dependence(depth, slope, offset) == pixels
    assert warp_rows.dependence(depth[:, : pixels - 1], slope, offset) == pixels - 1  # at most the row
    assert warp_rows.dependence(depth[:0], slope, offset) == warp_rows.dependence(depth * 0, slope, offset)


def test_a_constant_depth_has_no_holes(method):
    for view in ("left", "right"):
        inside = nonwarp_mask(torch.full((1, 1, 4, 200), 0.5), 5, 0.5, view)
        assert not inside.any()


def test_a_box_has_its_hole_at_one_of_its_sides(method):
    depth = torch.zeros(1, 1, 3, 200)
    depth[..., 80:120] = 1
    hidden = nonwarp_mask(depth, 10, 0, "right")[0, 0, 0].nonzero().flatten()  # moves by 10 pixels to the right
    assert hidden.min() >= 119 and hidden.max() <= 131 and len(hidden) in (9, 10, 11)


def test_every_frame_of_a_batch_has_the_mask_it_has_alone(method):
    depth = torch.cat([golden_depth(name) for name in ("ramp", "boxes", "sines")])
    together = nonwarp_mask(depth, 9, 0.2, "left")
    assert torch.equal(together, torch.cat([nonwarp_mask(frame, 9, 0.2, "left") for frame in depth.split(1)]))


@pytest.mark.parametrize("threads", [1, 2, 5, 200])
def test_the_number_of_threads_does_not_change_the_mask(threads):
    depth = golden_depth("sines")
    assert torch.equal(half_holes(depth, 9, 0.2, "right", threads=threads), half_holes(depth, 9, 0.2, "right"))


@pytest.mark.parametrize("name", ["boxes", "sines"])
def test_the_image_of_one_eye_is_the_golden_one(name, method):
    depth = golden_depth(name)
    left, _ = forward_warp(depth.expand(-1, 3, -1, -1), depth, 16, 0.5, "left", fill=True)
    assert torch.equal(left.mean(1)[0], torch.from_numpy(WARPED[f"{name}_left_fill"]))
    right, hidden = forward_warp(depth, depth, 16, 0.5, "right")
    assert torch.equal(right[0, 0], torch.from_numpy(WARPED[f"{name}_right_nofill"]))
    assert torch.equal(hidden[0, 0] * 2, torch.from_numpy(WARPED[f"{name}_right_mask_x2"]).float())


@pytest.mark.parametrize("seed", range(12))
def test_rows_and_tensors_warp_to_the_same_image(seed, monkeypatch):
    gen = torch.Generator().manual_seed(seed)
    height, width = (int(torch.randint(low, high, (), generator=gen)) for low, high in ((1, 5), (3, 300)))
    depth = random_depth(("noise", "steps", "layers")[seed % 3], (2, 1, height, width), gen)
    image = torch.rand(2, 3, height, width, generator=gen)
    divergence = float(torch.rand((), generator=gen)) * (100 if seed % 2 else 8)
    for view in ("left", "right"):
        found = []
        for by_rows in (True, False):
            monkeypatch.setattr(holes, "uses_rows", lambda _, by_rows=by_rows: by_rows)
            found.append(forward_warp(image, depth, divergence, 0.3, view, fill=seed % 4 > 1, base_width=width + 50))
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_filled_view_differs_from_an_unfilled_one_only_in_holes():
    depth = golden_depth("boxes")
    image = torch.rand(1, 3, 96, 160, generator=torch.Generator().manual_seed(0))
    filled, hidden = forward_warp(image, depth, 12, 0.5, "left", fill=True)
    unfilled, _ = forward_warp(image, depth, 12, 0.5, "left")
    assert torch.equal(filled * (hidden == 0), unfilled)
    assert (filled[(hidden > 0).expand_as(filled)] > 0).all()


def test_divergence_may_be_a_percentage_of_another_width():
    depth = golden_depth("boxes")
    for part, whole in zip(
        forward_warp(depth, depth, 6, 0.5, "left", base_width=320),
        forward_warp(depth, depth, 12, 0.5, "left"),
        strict=True,
    ):
        assert torch.equal(part, whole)


def test_edge_weight_has_the_golden_values():
    weight = edge_weight(torch.from_numpy(EDGES["edge_in"])[None, None])
    torch.testing.assert_close(weight[0, 0], torch.from_numpy(EDGES["edge_weight"]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "n"), [("1", 1), ("2", 2), ("2", (2, 2)), ("x2y0", (2, 0)), ("x1y3", (1, 3))])
def test_dilated_edges_have_the_golden_values(name, n):
    depth = dilate_edge(torch.from_numpy(EDGES["edge_in"])[None, None], n)
    torch.testing.assert_close(depth[0, 0], torch.from_numpy(EDGES[f"dilate_edge_{name}"]), rtol=0, atol=1e-6)


def test_edges_are_dilated_in_each_image_independently_and_by_0_not_at_all():
    depth = torch.cat([golden_depth("boxes"), golden_depth("sines") * 100])
    torch.testing.assert_close(dilate_edge(depth, 2), torch.cat([dilate_edge(d, 2) for d in depth.split(1)]))
    assert torch.equal(dilate_edge(depth, 0), depth)


@pytest.mark.slow
def test_numba_is_not_imported_before_the_first_mask():
    code = "import sys, pack.holes.forward; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_rows_and_tensors_have_the_same_constants():
    for name in ("UNSEEN", "OVERTAKEN", "REACH"):
        assert getattr(warp_rows, name) == getattr(holes, name)
