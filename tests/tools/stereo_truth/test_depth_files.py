import numpy as np
import pytest
import torch

from pack.video.reader import read_frames
from tests.support.media.depth_files import write_export, write_pngs
from tests.support.media.flat_scene import flat_scene
from tests.support.programs import refused, succeeds
from tests.tools.stereo_truth.test_main import SMALL, film  # noqa: F401
from tools.cli import MissingFile, UserError
from tools.stereo_truth.__main__ import main
from tools.stereo_truth.depth_files import film_name, read_nearness, write_left_eyes
from tools.stereo_truth.scenes import render_scenes


def test_left_eyes_are_written_without_loss_and_once(tmp_path):
    scene = flat_scene(height=96, width=161)
    write_left_eyes(tmp_path, [(scene.name, scene.left)], 1)
    (path,) = tmp_path.iterdir()
    assert path.stem == film_name(scene.name, scene.left)
    assert np.array_equal(np.stack(list(read_frames(path, 10**6))), scene.left)
    before = path.stat().st_mtime_ns
    write_left_eyes(tmp_path, [(scene.name, scene.left)], 1)
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("form", ["numbers", "export", "disparity"])
def test_the_depth_of_a_scene_is_read_in_every_form(tmp_path, form):
    scene = flat_scene(height=96, width=160)
    name, half = film_name(scene.name, scene.left), scene.nearness[:, ::2, ::2]
    if form == "numbers":
        write_pngs(tmp_path / name, half / 2 + 0.25)  # in another range
    else:
        write_export(tmp_path / name, half, fps=24, skip_mapper=form == "disparity", mapper="none")
    found = read_nearness(str(tmp_path), scene.name, scene.left)
    assert found.edge_dilation == (0 if form == "disparity" else 2)
    assert (found.values[:, 0] - torch.from_numpy(half)).abs().max() < 1e-4


def test_depth_of_other_scenes_or_of_too_few_frames_is_refused(tmp_path):
    scene, other = flat_scene(height=96, width=160), flat_scene(height=96, width=192)
    write_pngs(tmp_path / film_name(scene.name, scene.left), scene.nearness[:12])
    with pytest.raises(UserError, match=r"has no map for the frame at 0\.50 s \(4 of 16 frames have none\)"):
        read_nearness(str(tmp_path), scene.name, scene.left)
    with pytest.raises(MissingFile, match=film_name(other.name, other.left)):
        read_nearness(str(tmp_path), other.name, other.left)


def test_a_depth_model_is_measured_by_what_it_wrote_of_the_left_eyes(tmp_path, film):  # noqa: F811
    words = ("--scenes", 2, "--textures", film, "--baselines", "replicate", *SMALL)
    said = succeeds(main, *words, "--write-left", tmp_path / "eyes")
    assert "eyes: the left eyes of 2 scenes." in said and "pass that folder as --depth" in said
    for scene in render_scenes([str(film)], 2, 96, 0):
        assert (tmp_path / "eyes" / f"{film_name(scene.name, scene.left)}.mkv").exists()
        write_export(tmp_path / "maps" / film_name(scene.name, scene.left), scene.nearness, fps=24, skip_mapper=True)
    printed = succeeds(main, *words, "--depth", "exact", tmp_path / "maps", "-o", tmp_path / "out")
    values = [line.split()[1:] for line in printed.splitlines() if line.startswith("replicate ")]
    assert f"{tmp_path / 'maps'} depth, forward warp" in printed and len(values) >= 2
    assert "a folder of depth, see --write-left" in refused(main, *words, "--depth", "nowhere")
