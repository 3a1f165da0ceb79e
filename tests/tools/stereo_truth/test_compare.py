import json

import numpy as np
import pytest
import torch

from tests.support.media.flat_scene import flat_scene
from tests.tools.test_evaluate import tiny_network
from tools.evaluation.baselines import BASELINES
from tools.evaluation.methods import Method, choose_baselines, network_method
from tools.stereo_truth import classes, tables
from tools.stereo_truth.compare import LEFT_EYE, PERFECT, Case, compare, make, to_frames
from tools.stereo_truth.depth_files import Nearness
from tools.stereo_truth.depths import nearness_of
from tools.stereo_truth.measures import TrueEye
from tools.stereo_truth.report import as_html, as_json
from tools.stereo_truth.shares import share_table, shares_of

CPU = torch.device("cpu")


def simple(*names):
    return choose_baselines(names)[0]


def compared(scenes, methods, depths=("exact",), tile=0):
    return compare(scenes, len(scenes), depths, ("forward",), methods, tile, 2, 0, CPU)


def value(found, fill, measure, depth="exact", scene=0):
    return found.rows.values[str(Case(depth, "forward", fill))][scene][measure]


@pytest.fixture(scope="module")
def found():
    scenes = [flat_scene(seed, shift=6 + 2 * seed) for seed in range(3)]
    methods = [*simple("empty", "replicate", "navier-stokes"), network_method("tiny", "network", tiny_network())]
    return compared(scenes, methods, ("exact", "degraded")), methods


def test_at_whole_pixels_the_warp_of_exact_depth_is_the_true_eye_outside_of_holes():
    scene = flat_scene()
    nearness = Nearness(torch.from_numpy(scene.nearness)[:, None], 0)
    made = make(scene, nearness, "forward", np.s_[:, :, :], CPU)
    true = to_frames(scene.right, CPU)
    assert ((made.right - true).abs() * ~made.holes).max() < 1e-3


def test_holes_of_the_warp_hold_all_that_is_uncovered():
    scene = flat_scene()
    nearness = Nearness(torch.from_numpy(scene.nearness)[:, None], 0)
    made = make(scene, nearness, "forward", np.s_[:, :, :], CPU)
    assert not (torch.from_numpy(scene.uncovered)[:, None] & ~made.holes).any()


def test_monobw_shows_the_background_as_it_is_and_its_holes_hold_what_is_uncovered():
    scene = flat_scene()
    nearness = Nearness(torch.from_numpy(scene.nearness)[:, None], 0)
    made = make(scene, nearness, "monobw", np.s_[:, :, :], CPU)
    true = to_frames(scene.right, CPU)
    still = torch.from_numpy(scene.nearness == 0)[:, None] & ~made.holes  # the ground does not move here
    still[..., :40] = still[..., -24:] = False  # what the nearer layer hides is smoothed
    assert ((made.right - true).abs() * still)[:, :, :20].max() < 1e-3
    assert (torch.from_numpy(scene.uncovered)[:, None] & ~made.holes).float().mean() < 0.001


def test_what_is_uncovered_is_what_no_pixel_of_the_left_eye_lands_on():
    scene = flat_scene(shift=5)
    for t in range(len(scene.left)):
        shift = (scene.nearness[t] * 5).astype(int)
        seen = np.zeros(shift.shape, bool)
        depth = np.full(shift.shape, -1.0)
        for y in range(shift.shape[0]):
            for x in range(shift.shape[1]):  # a z-buffer
                to = x - shift[y, x]
                if to >= 0 and scene.nearness[t, y, x] > depth[y, to]:
                    seen[y, to], depth[y, to] = True, scene.nearness[t, y, x]
        assert np.array_equal(scene.uncovered[t], ~seen)


def test_replicate_is_exact_before_a_ground_of_one_colour():
    flat = compared([flat_scene(0, texture=0.0)], simple("replicate", "empty"))
    assert value(flat, "replicate", "uncovered_psnr") > 90
    assert value(flat, "empty", "uncovered_psnr") < 10


def test_a_fill_that_knows_the_truth_has_no_error_with_exact_depth(found):
    assert value(found[0], PERFECT, "frame_psnr") > 60
    assert value(found[0], PERFECT, "uncovered_psnr") > 90


def test_the_left_eye_is_the_same_whatever_depth_and_warp(found):
    for measure in ("uncovered_psnr", "band_psnr", "siou"):
        assert value(found[0], LEFT_EYE, measure) == value(found[0], LEFT_EYE, measure, "degraded")


def test_a_queue_and_12_at_once_get_the_same_measured_frames():
    seen = {}

    def remember(name):
        def fill(frames, holes):
            seen[name] = frames
            return BASELINES["replicate"](frames, holes)

        return fill

    methods = [Method("queue", "stream", remember("queue"), 0, 16), Method("twelve", "network", remember("twelve"))]
    both = compared([flat_scene()], methods)
    assert torch.equal(seen["queue"][2:14], seen["twelve"]) and len(seen["queue"]) == 16
    assert value(both, "queue", "uncovered_psnr") == value(both, "twelve", "uncovered_psnr")


def test_a_tile_is_cut_where_most_is_uncovered():
    found = compared([flat_scene(height=128, width=320)], simple("replicate"), tile=96)
    assert found.rows.clips[0]["uncovered_share"] > 0.02
    assert found.shown[0].pictures["true right eye"].shape == (12, 64, 64, 3)


def test_a_scene_that_hides_nothing_is_left_out_with_a_note():
    found = compared([flat_scene(shift=0)], simple("replicate"))
    assert not found.rows.clips and "the left eye shows all of it" in found.notes[0]


def test_the_shares_of_fill_warp_and_depth_make_the_error(found):
    for depth in ("exact", "degraded"):
        for region in ("uncovered", "band", "frame"):
            shares = shares_of(found[0], Case(depth, "forward", "replicate"), region)
            parts = shares.fill.mean + shares.warp.mean + shares.depth.mean
            assert parts == pytest.approx(shares.total.mean)
    exact = shares_of(found[0], Case("exact", "forward", "replicate"), "uncovered")
    assert exact.depth.mean == 0 and exact.percent("fill") == pytest.approx(100, abs=0.1)


def test_without_exact_depth_the_error_has_no_shares():
    found = compared([flat_scene()], simple("replicate"), ("degraded",))
    assert shares_of(found, Case("degraded", "forward", "replicate"), "frame") is None
    assert len(share_table(found, ["replicate"], "frame")) == 1


def test_differences_are_paired_by_scene(found):
    one, other = Case("exact", "forward", "replicate"), Case("exact", "forward", "tiny")
    each = [[value(found[0], fill, "band_psnr", scene=n) for n in range(3)] for fill in ("replicate", "tiny")]
    gaps = np.subtract(*each)
    gap = tables.difference(found[0], one, other, "band_psnr")
    assert gap.mean == pytest.approx(np.mean(gaps)) and gap.low <= gap.mean <= gap.high


def test_the_best_fill_comes_first_and_what_is_no_fill_has_no_rank(found):
    order = tables.ranked(found[0], "exact", "forward", "uncovered_psnr")
    means = [tables.mean(found[0], Case("exact", "forward", name), "uncovered_psnr").mean for name in order]
    assert means == sorted(means, reverse=True) and set(order) == {"replicate", "navier-stokes", "tiny"}


def test_json_holds_every_case_and_scene_and_the_page_every_table(found):
    from tools.stereo_truth.__main__ import Config

    data = json.loads(json.dumps(as_json(found[0], found[1], ["a note"], Config())))
    assert len(data["cases"]) == 2 * (4 + 2) and len(data["scenes"]) == 3
    mean = next(c for c in data["cases"] if (c["depth"], c["fill"]) == ("exact", "replicate"))["means"]["band_psnr"]
    scenes = [s["measures"][str(Case("exact", "forward", "replicate"))]["band_psnr"] for s in data["scenes"]]
    assert mean["mean"] == pytest.approx(np.mean(scenes)) and mean["clips"] == 3
    page = as_html(found[0], found[1], ["a note"])
    for words in (
        "a note",
        "Whose error it is",
        "By width",
        "uncovered pixels, by strength",
        "data:image/webp",
    ):
        assert words in page


def test_depth_has_the_size_that_it_would_have_for_the_whole_film():
    scene = flat_scene(height=96, width=160)
    for kind, side, dilation in (("exact", 96, 0), ("degraded", round(96 * 392 / 720), 2), ("Motion", 64, 2)):
        first, again = (nearness_of(kind, scene.name, scene.left, scene.nearness, (1280, 720), 5) for _ in range(2))
        assert first.values.shape[:3] == (16, 1, side) and first.values.min() >= 0 and first.values.max() <= 1
        assert torch.equal(first.values, again.values) and first.edge_dilation == dilation


def test_contrast_is_that_between_both_ends_of_what_is_uncovered():
    right = torch.zeros(1, 3, 4, 10)
    right[..., :4], right[..., 4:] = 0.75, 0.25  # what hides, what is hidden
    uncovered = torch.zeros(1, 1, 4, 10, dtype=torch.bool)
    uncovered[..., 4:7] = True
    assert classes.contrast(TrueEye(right, right, uncovered)) == pytest.approx(0.5)


def test_a_flat_picture_has_no_texture_and_rough_ones_have_more():
    uncovered = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    uncovered[..., 8:24] = True
    grain = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)).expand(1, 3, 32, 32)
    found = [classes.texture(TrueEye(x, x, uncovered)) for x in (grain * 0 + 0.5, grain * 0.05, grain)]
    assert found[0] == pytest.approx(0, abs=1e-6) and found[0] < found[1] < found[2]
    assert [classes.class_of(x, classes.TEXTURE) for x in found] == ["smooth", "textured", "rough"]


def test_widths_are_counted_at_1080p():
    uncovered = torch.zeros(1, 1, 20, 40, dtype=torch.bool)
    uncovered[..., 10:16] = True
    parts = classes.parts_by_width(classes.widths_at_1080p(uncovered, 1.5))  # 6 px become 9
    assert list(parts) == ["8-32"] and torch.equal(parts["8-32"], uncovered)


def test_classes_stand_in_order_and_say_how_many_scenes_they_have(found):
    head = tables.group_table(found[0], "exact", "forward", "strength")[0]
    assert head == ["fill", "to 5 % (2)", "over 5 % (1)"]  # 6, 8 and 10 px of 160


def test_scenes_where_a_fill_gives_nan_are_counted_and_named_and_in_no_mean():
    calls = iter(range(100))

    def broken_once(frames, holes):
        return frames * (float("nan") if next(calls) == 1 else 1)

    scenes = [flat_scene(seed, shift=6) for seed in range(3)]
    methods = [*simple("replicate"), Method("m", "one frame", broken_once)]
    found = compared(scenes, methods)
    case = str(Case("exact", "forward", "m"))
    assert found.rows.mean(case, "uncovered_psnr").clips == 2 and len(found.rows.clips) == 3
    (line,) = found.rows.left_out()
    assert line.startswith(f"{case}: 1 of 3 clips is left out of its means, because of output that is not finite: ")
    assert line in as_html(found, methods, [line])
