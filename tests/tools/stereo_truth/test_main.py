import json
import re

import av
import numpy as np
import pytest
import torch

from model.checkpoint import save_network
from tests.support.media.videos import write
from tests.support.programs import refused, succeeds
from tests.tools.test_evaluate import tiny_network
from tools.stereo_truth.__main__ import main
from tools.stereo_truth.report import AGAINST
from tools.stereo_truth.scenes import FIRST_SEED, render_scenes

SMALL = ("--size", 96, "--tile", 80, "--depth", "exact", "--device", "cpu", "--pictures", 1)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (6, 16, 20, 3)).astype(np.uint8)
    pictures = [picture.repeat(8, 0).repeat(8, 1) for picture in pictures]
    write(path, [av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p") for picture in pictures])
    return path


@pytest.fixture(scope="module")
def outcome(film, tmp_path_factory):
    """The folder of an evaluation of one network and one simple fill, and what was printed."""
    folder = tmp_path_factory.mktemp("evaluation")
    save_network(folder / "tiny.pth", tiny_network())
    words = ("--checkpoint", folder / "tiny.pth", "--baselines", "replicate", "--scenes", 2, "--textures", film)
    return folder, succeeds(main, *words, "-o", folder, *SMALL)


def test_the_table_names_every_fill_and_the_files_appear(outcome):
    folder, printed = outcome
    assert printed.startswith("Measured against a true second eye")
    for name in ("left eye", "tiny", "tiny streamed", "untrained", "replicate", "perfect fill"):
        assert f"\n{name} " in printed
    found = json.loads((folder / "metrics.json").read_text())
    assert found["format"] == "backfill stereo metrics" and len(found["scenes"]) == 2
    assert (folder / "report.html").read_text().startswith("<!doctype html>")


def test_a_table_says_how_far_each_network_is_from_the_best_simple_fill(outcome):
    folder, printed = outcome
    head, *lines = printed.partition(f"{AGAINST}:\n")[2].split("\n\n")[0].splitlines()[:3]
    assert head.split() == "network depth warp uncovered pixels against band against".split()
    assert [line.split("exact")[0].strip() for line in lines] == ["tiny", "tiny streamed"]
    gap = r"[+-]\d+\.\d\d (\[\S+, \S+\] +)?"
    assert all(re.search(rf" exact +forward +{gap} *replicate +{gap} *replicate$", line) for line in lines)
    assert AGAINST in (folder / "report.html").read_text()


def test_no_line_is_wider_than_120_characters_but_sentences(outcome):
    tables = [line for line in outcome[1].splitlines() if "  " in line]
    assert tables and max(map(len, tables)) <= 120


def test_scenes_are_the_same_for_the_same_seed_and_none_of_those_that_training_draws(film):
    first, again, other = (next(render_scenes([str(film)], 1, 64, seed)) for seed in (0, 0, 1))
    assert first.seed == again.seed >= FIRST_SEED and np.array_equal(first.right, again.right)
    assert first.seed != other.seed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--textures", "no/such/film.mp4"), "no/such/film.mp4: found no such video"),
        (("--scenes", 1), "--scenes 1: expected 2 or more"),
        (("--depth", "exakt"), "--depth exakt: expected some of exact, degraded, Motion"),
        (("--warp", "backward"), "--warp backward: expected some of forward"),
        (("--warp", "mlbw"), "--warp mlbw: expected some of forward, monobw"),
        (("--depth", "exact", "exact"), "names one twice"),
        (("--tile", 600), "--tile 600, --size 512"),
        (("--baselines", "magic"), "--baselines magic"),
    ],
)
def test_mistakes_are_one_line(words, message, film):
    assert message in refused(main, "--textures", film, *words)


def test_a_folder_without_videos_is_one_line(tmp_path):
    assert "no video" in refused(main, "--textures", tmp_path)


def test_a_network_of_another_family_is_one_line(tmp_path, film):
    torch.save({"name": "waifu2x.upconv_7", "kwargs": {}, "state_dict": {}}, tmp_path / "other.pth")
    said = refused(main, "--checkpoint", tmp_path / "other.pth", "--textures", film, *SMALL)
    assert "holds 'waifu2x.upconv_7', expected one of inpaint.light_video_inpaint_v1" in said
