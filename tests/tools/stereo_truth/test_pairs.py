"""Clips of two eyes from files: what is read of them, and what of the right eye is hidden."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from pack.scenes.render import render, right_nearness
from tests.support.media.flat_scene import flat_scene
from tests.support.programs import refused, succeeds
from tools.stereo_truth.__main__ import main
from tools.stereo_truth.pairs import hidden_pixels, read_pair
from tools.truth.records import draw_view, frame_scene

SHIFT, OFFSET = 8, 3  # pixels by which front and ground differ, and disparity of the ground


def shifted(scene):
    """The eyes and disparities of a flat scene, its right eye moved so that the ground has a disparity."""
    ground = np.full(scene.nearness.shape, OFFSET, np.float32)
    right = np.roll(scene.right, -OFFSET, 2)  # at x - d
    seen = np.roll(scene.nearness, -SHIFT, 2)  # whole pixels, so that the right eye's nearness is the left one's, moved
    return scene.left, right, ground + SHIFT * scene.nearness, ground + SHIFT * np.roll(seen, -OFFSET, 2)


def write_disparity(path, values, kind):
    if kind == "png":
        Image.fromarray(np.round(values * 256).astype(np.uint16)).save(path.with_suffix(".png"))
    elif kind == "pfm":
        head = f"Pf\n{values.shape[1]} {values.shape[0]}\n-1.0\n".encode()
        path.with_suffix(".pfm").write_bytes(head + values[::-1].astype("<f4").tobytes())
    else:
        np.save(path.with_suffix(".npy"), values)


def write_clip(folder, kind="npy", frames=16):
    """The files of a clip, as `--pairs` takes them."""
    names = ("left", "right", "disparity", "disparity-right")
    for name, values in zip(names, shifted(flat_scene()), strict=True):
        (folder / name).mkdir(parents=True)
        for t in range(frames):
            path = folder / name / f"frame{t:04d}"
            if name in ("left", "right"):
                Image.fromarray(values[t]).save(path.with_suffix(".png"))
            else:
                write_disparity(path, values[t], kind)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("pairs") / "clip")


@pytest.fixture
def copy(clip, tmp_path):
    return shutil.copytree(clip, tmp_path / "clip")


def test_a_clip_is_read_as_the_scene_it_was_written_from(clip):
    scene, expected = read_pair(clip), flat_scene()
    assert np.array_equal(scene.left, expected.left) and np.array_equal(scene.nearness, expected.nearness)
    assert np.array_equal(scene.uncovered, np.roll(expected.uncovered, -OFFSET, 2))
    longest = max(scene.left.shape[1:3])
    disparity = (scene.nearness - scene.convergence) * scene.divergence / 100 * longest
    assert np.allclose(disparity, OFFSET + SHIFT * expected.nearness, atol=1e-4)
    assert scene.strength == pytest.approx(100 * SHIFT / scene.left.shape[2])
    assert scene.margin == 11  # the largest disparity: no measured pixel is beyond a border of the left eye


@pytest.mark.parametrize("kind", ["png", "pfm"])
def test_disparity_of_other_files_is_the_same_but_for_their_steps(clip, tmp_path, kind):
    scene, expected = read_pair(write_clip(tmp_path / "clip", kind)), read_pair(clip)
    assert np.array_equal(scene.uncovered, expected.uncovered)
    assert np.allclose(scene.nearness, expected.nearness, atol=1 / 256 / SHIFT)


def test_hidden_pixels_of_rendered_scenes_are_those_that_the_renderer_knows():
    """The renderer composites half-transparent borders, so that borders may differ by a pixel or so."""
    rng = np.random.default_rng(0)
    textures = [rng.integers(0, 255, (64, 64, 3)).astype(np.uint8) for _ in range(3)]
    agreed = united = 0
    for seed in range(6):
        view = draw_view(seed, 128, 0)
        scene = frame_scene(seed, view, textures, 128, 1)
        eyes = render(scene)
        scale = eyes.divergence / 100 * max(eyes.left.shape[1:3])
        left, right = ((near - eyes.convergence) * scale for near in (eyes.nearness, right_nearness(scene)))
        found = hidden_pixels(left, right) & ~eyes.outside
        agreed += (found & eyes.uncovered).sum()
        united += (found | eyes.uncovered).sum()
    assert united > 2000 and agreed / united > 0.8


def test_a_plane_that_is_slanted_hides_nothing():
    columns = np.arange(64, dtype=np.float32)
    left = np.broadcast_to(0.5 * columns, (1, 4, 64))  # at x - d = 0.5 x
    right = np.broadcast_to(columns, (1, 4, 64))
    assert not hidden_pixels(left, right)[:, :, :31].any()


def test_clips_are_measured_by_their_names(clip, tmp_path):
    shutil.copytree(clip, tmp_path / "pairs" / "one")
    shutil.copytree(clip, tmp_path / "pairs" / "two")
    words = ("--depth", "exact", "--tile", 64, "--device", "cpu", "--baselines", "replicate", "--pictures", 0)
    printed = succeeds(main, "--pairs", tmp_path / "pairs", *words, "-o", tmp_path / "out")
    perfect = float(re.search(r"^perfect fill +([\d.]+)", printed, re.M)[1])
    assert perfect > 90  # by whole pixels the warp is exact, so only the fill can err
    assert "one" in (tmp_path / "out/metrics.json").read_text()


def without_frame(clip):
    (clip / "right/frame0003.png").unlink()


def of_another_size(clip):
    for path in (clip / "right").iterdir():
        Image.open(path).resize((80, 48)).save(path)


def of_two_sizes(clip):
    path = clip / "left/frame0002.png"
    Image.open(path).resize((80, 48)).save(path)


def too_short(clip):
    for path in list((clip / "left").iterdir())[5:]:
        path.unlink()


def without_right_disparity(clip):
    shutil.rmtree(clip / "disparity-right")


def without_right_eye(clip):
    shutil.rmtree(clip / "right")


def infinite(clip):
    np.save(clip / "disparity/frame0001.npy", np.full((96, 160), np.inf, np.float32))


def far_apart(clip):
    for path in (clip / "disparity").iterdir():
        np.save(path, np.load(path) + 70)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_frame, "right lacks frame 3, which"),
        (of_another_size, "right is of 80x48, left of 160x96: expected one size"),
        (of_two_sizes, "left holds frames of 80x48 and 160x96, expected one size"),
        (too_short, "left holds 5 frames, expected 12 or more"),
        (without_right_disparity, "disparity-right is missing: a clip with a true second eye has left, right, dis"),
        (without_right_eye, "expected folders left, right, disparity, disparity-right in it"),
        (infinite, "frame0001.npy holds NaN or infinity"),
        (far_apart, "a disparity of 81 pixels leaves nothing of 160 columns to measure"),
    ],
)
def test_what_does_not_fit_is_one_line(copy, spoil, message):
    spoil(copy)
    assert message in refused(main, "--pairs", copy, "--depth", "exact", "--baselines", "none")


def test_two_clips_of_one_name_and_no_folder_are_one_line(clip):
    assert "names two clips clip: rename one" in refused(main, "--pairs", clip, clip)
    assert "no-such is no folder" in refused(main, "--pairs", "no-such")
