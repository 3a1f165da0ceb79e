import io
import struct
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from model.morphology import dilate_inner, dilate_outer, mask_closing
from pack.holes.kinds import parse_shares
from pack.holes.monobw import backward_warp
from pack.scenes.layers import Look
from pack.scenes.render import render
from pack.shards.record import decode
from pack.shards.shard import list_shards, read_record
from tests.support.media.scenes import textures
from tests.support.programs import refused, succeeds
from tools.cli import UserError
from tools.truth.__main__ import main
from tools.truth.records import build, draw_view, frame_scene, make_record, margin, nearness, warp
from tools.truth.textures import find_sources, identify, load_textures

SMALL = ("--size", 64, "--frames", 2, "--texture-count", 3, "--workers", 2)


def example(seed=3, degraded=0.0, size=96, look=None):
    view = replace(draw_view(seed, size, degraded), edge_dilation=0, inner=1, outer=2)
    scene = frame_scene(seed, view, textures(), size, 2)
    return view, render(replace(scene, look=look) if look else scene)


@pytest.mark.parametrize("degraded", [0.0, 1.0])
def test_a_record_is_the_true_eye_inside_its_holes_and_the_warp_outside_them(degraded):
    view, rendered = example(degraded=degraded)
    record = build("key", rendered, view, 96)
    eye, holes = warp(rendered, view)
    part = slice(margin(view), margin(view) + 96)
    assert np.array_equal(record.masks > 0, holes[:, :, part]) and record.masks.any()
    inside = record.masks > 0
    assert np.array_equal(record.frames[inside], rendered.right[:, :, part][inside])
    assert np.array_equal(record.frames[~inside], eye[:, :, part][~inside])


@pytest.mark.parametrize("seed", range(4))
def test_with_exact_depth_the_warp_outside_of_holes_is_the_true_eye(seed):
    view, rendered = example(seed, look=Look())
    eye, holes = warp(rendered, view)
    part = slice(margin(view), margin(view) + 96)
    kept = ~holes[:, :, part]
    error = np.abs(eye.astype(float) - rendered.right)[:, :, part].mean(-1)
    assert np.median(error[kept]) <= 1 and (error[kept] > 25).mean() < 0.05
    assert rendered.uncovered[:, :, part][kept].mean() < 0.01


def test_a_record_is_a_function_of_its_seed_and_says_how_to_render_it_again():
    first, again = (make_record(1, 7, textures(), 64, 2, 0.5) for _ in range(2))
    assert np.array_equal(first.frames, again.frames) and first.info == again.info
    info = first.info
    assert info["truth"] == "rendered" and info["warp"] == "forward_warp"
    view = draw_view(info["scene_seed"], info["size"], 0.5)
    right = render(frame_scene(info["scene_seed"], view, textures(), info["size"], 2)).right
    part = slice(info["margin"], info["margin"] + info["size"])
    inside = first.masks > 0
    assert np.array_equal(first.frames[inside], right[:, :, part][inside])


def test_the_program_writes_ordinary_shards_once(films, tmp_path):
    words = ("-o", tmp_path, "--clips", 3, "--textures", films / "film0.mp4", *SMALL)
    assert "3 records" in succeeds(main, *words)
    shards = list_shards(tmp_path)
    before = [shard.sha256 for shard in shards]
    for shard in shards:
        for entry in shard.records:
            record = decode(entry.key, read_record(shard, entry))
            assert record.frames.shape == (2, 64, 64, 3) and record.info["textures"] == ["film0.mp4"]
    assert "3 records" in succeeds(main, *words)
    (other,) = list_shards(tmp_path)
    assert [other.sha256] == before


def test_other_settings_under_the_same_seed_are_refused(films, tmp_path):
    words = ("-o", tmp_path, "--textures", films / "film0.mp4", *SMALL)
    succeeds(main, *words, "--clips", 1)
    assert "clips is 2, was 1" in refused(main, *words, "--clips", 2)


def test_textures_that_are_missing_or_no_share_are_one_line(tmp_path):
    assert "nothing.mp4" in refused(main, "-o", tmp_path, "--textures", "nothing.mp4", "--clips", 1)
    assert "--degraded" in refused(main, "--degraded", 2).splitlines()[-1]


def test_textures_are_the_same_for_the_same_seed(films):
    first, again = (load_textures([films / "film0.mp4", films / "film1.mp4"], 4, 1) for _ in range(2))
    assert len(first) >= 2 and all(map(np.array_equal, first, again))


def photo(path, size, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def test_a_folder_of_photos_is_a_source_of_textures(films, tmp_path):
    photo(tmp_path / "a" / "large.jpg", (2600, 1500), "red")
    photo(tmp_path / "a" / "deeper" / "small.png", (400, 300), "blue")
    photo(tmp_path / "a" / "icon.png", (64, 64), "green")
    photo(tmp_path / "a" / "._large.jpg", (2600, 1500), "white")
    sources = find_sources([str(tmp_path / "a"), str(films / "film0.mp4")])
    assert sources == sorted([tmp_path / "a", films / "film0.mp4"])
    pictures = load_textures([tmp_path / "a"], 6, 0)
    assert {picture.shape for picture in pictures} == {(720, 1280, 3), (300, 400, 3)}  # the icon is too small
    colours = {tuple(picture.reshape(-1, 3).mean(0).round() > 99) for picture in pictures}
    assert colours == {(True, False, False), (False, False, True)}


def test_a_folder_of_other_photos_is_another_source(tmp_path):
    photo(tmp_path / "a" / "x.png", (300, 300), "red")
    before = identify(tmp_path / "a")
    photo(tmp_path / "a" / "x.png", (300, 300), "blue")
    assert identify(tmp_path / "a") != before and before["photos"] == 1


def test_a_photo_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"nothing")
    line = refused(main, "-o", tmp_path / "out", "--textures", tmp_path, "--clips", 1)
    assert "broken.png" in line and "remove it" in line


@pytest.mark.parametrize("degraded", [0.0, 1.0])
def test_with_monobw_the_frame_is_the_eye_of_the_backward_warp_in_its_own_holes_the_true_one(degraded):
    view, rendered = example(degraded=degraded)
    view = replace(view, warp="monobw")
    record = build("key", rendered, view, 96)
    depth, width = nearness(rendered, view)
    image = torch.from_numpy(rendered.left).permute(0, 3, 1, 2).float() / 255
    strength = 2 * rendered.divergence
    eye, holes = backward_warp(image.flip(-1), depth.flip(-1), strength, rendered.convergence, clear=0)
    holes = mask_closing(holes.flip(-1).float()) > 0
    holes = dilate_inner(dilate_outer(holes, 2, width), 1, width)
    part = slice(margin(view), margin(view) + 96)
    inside = holes[:, 0, :, part].numpy()
    assert np.array_equal(record.masks > 0, inside) and inside.any()
    assert np.array_equal(record.frames[inside], rendered.right[:, :, part][inside])
    expected = (eye.flip(-1) * 255).round().byte().permute(0, 2, 3, 1).numpy()[:, :, part]
    assert np.array_equal(record.frames[~inside], expected[~inside])


@pytest.mark.parametrize("seed", range(3))
def test_holes_of_monobw_hold_what_is_uncovered_where_depth_is_exact(seed):
    view, rendered = example(seed, look=Look())
    _, holes = warp(rendered, replace(view, warp="monobw"))
    part = slice(margin(view), margin(view) + 96)
    assert rendered.uncovered[:, :, part][~holes[:, :, part]].mean() < 0.02


def test_the_warp_is_drawn_by_the_scenes_seed_and_changes_nothing_else():
    shares = parse_shares("--warp", "mix:forward=1,monobw=3", False)
    views = [draw_view(seed, 96, 0.5, shares) for seed in range(400)]
    kinds = [view.warp for view in views]
    assert set(kinds) == {"forward", "monobw"} and 0.68 < kinds.count("monobw") / 400 < 0.82
    plain = [draw_view(seed, 96, 0.5) for seed in range(400)]
    assert [replace(view, warp="forward") for view in views] == plain


def test_the_program_writes_the_warp_of_each_record_and_refuses_to_mix_settings(films, tmp_path):
    words = ("-o", tmp_path, "--clips", 4, "--textures", films / "film0.mp4", *SMALL)
    succeeds(main, *words, "--warp", "mix")
    (shard,) = list_shards(tmp_path)
    infos = [decode(entry.key, read_record(shard, entry)).info for entry in shard.records]
    assert {info["warp"] for info in infos} == {"forward_warp", "monobw"}
    assert all(info["mask"] == info["warp"] for info in infos)
    assert "warp is null" in refused(main, *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--warp", "backward"), "--warp backward: expected forward, mlbw, monobw, mix"),
        (("--warp", "mix:forward=1,backward=2"), '"backward" is not a kind of holes'),
        (("--warp", "mix:forward=much"), 'the share of forward is "much"'),
        (("--warp", "mix:forward=-1"), 'the share of forward is "-1"'),
        (("--warp", "mix:forward=0,monobw=0"), "the shares sum to 0"),
        (("--warp", "mlbw"), "mlbw needs iw3's file"),
        (("--warp", "mlbw", "--mask-model", "no.pth"), "no.pth"),
    ],
)
def test_mistakes_in_warps_are_one_line(words, message, tmp_path, films):
    assert message in refused(main, "-o", tmp_path, "--clips", 1, "--textures", films / "film0.mp4", *words)


def damaged_photos():
    out = io.BytesIO()
    Image.fromarray(np.zeros((300, 300, 3), np.uint8)).save(out, "PNG")
    png = out.getvalue()
    yield "a PostScript program", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 300 300\nshowpage\n"
    yield "cut", png[: len(png) // 2]
    for side in (30_000, 100_000, 2**31 - 1):
        head = png[12:16] + struct.pack(">II", side, side) + png[24:29]
        yield f"a side of {side}", png[:12] + head + struct.pack(">I", zlib.crc32(head)) + png[33:]


@pytest.mark.parametrize(("kind", "data"), damaged_photos(), ids=[kind for kind, _ in damaged_photos()])
def test_photos_that_are_something_else_or_huge_are_one_line_with_their_name(tmp_path, recwarn, kind, data):
    (tmp_path / "x.png").write_bytes(data)
    tracemalloc.start()
    with pytest.raises(UserError, match=r"x\.png.*remove it"):
        load_textures([tmp_path], 2, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6 and not recwarn.list
