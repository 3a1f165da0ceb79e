import json

import av
import numpy as np
import pytest
import torch

from model.checkpoint import save_network
from pack.shards.record import encode
from pack.shards.shard import ShardWriter
from tests.support.media.videos import write
from tests.support.programs import refused, succeeds
from tests.support.shards import make_split, texture_record
from tests.tools.test_evaluate import tiny_network
from tools.arena import __main__ as program
from tools.arena.__main__ import main

SMALL = ("--size", 96, "--tile", 80, "--scenes", 2, "--device", "cpu", "--pictures", 1, "--baselines", "replicate")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    pictures = np.random.default_rng(0).integers(0, 255, (6, 16, 20, 3)).astype(np.uint8)
    pictures = [picture.repeat(8, 0).repeat(8, 1) for picture in pictures]
    return write(
        path, [av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p") for picture in pictures]
    )


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    for name in ("a", "b"):
        save_network(folder / f"{name}.pth", tiny_network(ord(name)))
    return folder / "a.pth", folder / "b.pth"


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return make_split(tmp_path_factory.mktemp("split"), records=3)


@pytest.fixture(scope="module")
def outcome(film, networks, split, tmp_path_factory):
    """The folder of an arena of two networks, and what was printed."""
    out = tmp_path_factory.mktemp("arena")
    words = ("--checkpoints", *networks, "--data", split, "--textures", film, "--depth", "exact", "-o", out)
    return out, succeeds(main, *words, *SMALL)


def mixed_split(folder, sizes):
    with ShardWriter(folder / "s.tar") as writer:
        for number, size in enumerate(sizes):
            record = texture_record(number, size=size)
            writer.add(record.key, encode(record, "png"))
        writer.publish({"video": "v"}, {})
    return folder


def test_every_board_ranks_every_method(outcome):
    found = json.loads((outcome[0] / "arena.json").read_text())
    assert [board["true_second_eye"] for board in found["boards"]] == [True, True, False]
    for board in found["boards"]:
        assert sorted(m["rank"]["place"] for m in board["methods"].values()) == [1, 2, 3]
        assert set(board["methods"]) == {"a", "b", "replicate"}
    assert found["boards"][2]["clips"] == 3 and found["boards"][0]["clips"] == 2
    assert len(found["rank_correlation"]) == 3


def test_the_page_says_what_the_json_says_and_its_strips_play(outcome):
    page = (outcome[0] / "arena.html").read_text()
    found = json.loads((outcome[0] / "arena.json").read_text())
    for board in found["boards"]:
        for method in board["methods"].values():
            assert f"{method['mean']:.2f}" in page
            rank = method["rank"]
            assert f"<td>{rank['place']}<small>[{rank['low']}, {rank['high']}]" in page
    assert page.count("data:image/webp") >= 2 * 5
    for fact in found["clips"]:
        assert fact in page and fact in outcome[1]


def test_a_quick_arena_stops_at_its_time_with_two_clips_of_each_source_and_says_so(
    film, networks, split, tmp_path, monkeypatch
):
    monkeypatch.setattr(program, "QUICK_SECONDS", -1)
    words = ("--checkpoints", networks[0], "--data", split, "--textures", film, "--quick", "-o", tmp_path)
    printed = succeeds(main, *words, *SMALL)
    assert "2 of 3 clips measured, drawn by seed 0 (quick: as many as fit into two minutes)" in printed
    assert {b["clips"] for b in json.loads((tmp_path / "arena.json").read_text())["boards"]} == {2}


@pytest.mark.parametrize("sizes", [(128, 96), (96, 128), (128, 64)])
def test_a_split_that_mixes_sizes_is_one_line(sizes, film, networks, tmp_path):
    folder = mixed_split(tmp_path, sizes)
    said = refused(main, "--checkpoints", networks[0], "--data", folder, "--textures", film, "-o", tmp_path, *SMALL)
    assert "mixes records of" in said and f"{sizes[0]}x{sizes[0]} (test_" in said and f"{sizes[1]}x{sizes[1]}" in said


def test_a_split_of_too_few_clips_is_one_line(film, networks, tmp_path):
    folder = mixed_split(tmp_path, (128,))
    said = refused(main, "--checkpoints", networks[0], "--data", folder, "--textures", film, *SMALL)
    assert "holds 1 record, expected 2 or more" in said


def test_a_network_of_another_family_is_one_line(film, split, tmp_path):
    torch.save({"name": "waifu2x.upconv_7", "kwargs": {}, "state_dict": {}}, tmp_path / "other.pth")
    said = refused(main, "--checkpoints", tmp_path / "other.pth", "--data", split, "--textures", film, *SMALL)
    assert "holds 'waifu2x.upconv_7', expected one of" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--checkpoints is missing"),
        (("--checkpoints", "base", "--textures", "no/film.mp4"), "no/film.mp4: found no such video"),
        (("--checkpoints", "base", "--scenes", 1), "--scenes 1: expected 2 or more"),
        (("--checkpoints", "base", "base"), "the same file twice"),
        (("--checkpoints", "base", "--data", "no/split"), "no/split"),
    ],
)
def test_mistakes_are_one_line(words, message, film):
    textures = () if "--textures" in words else ("--textures", film)
    assert message in refused(main, *words, *textures)


def test_a_network_whose_output_is_not_finite_is_one_line_and_is_not_ranked(film, networks, split, tmp_path):
    payload = torch.load(networks[0], weights_only=True)
    payload["state_dict"] = {name: weight * 1e30 for name, weight in payload["state_dict"].items()}
    torch.save(payload, tmp_path / "huge.pth")
    words = ("--checkpoints", networks[0], tmp_path / "huge.pth", "--data", split, "--textures", film)
    said = refused(main, *words, "--depth", "exact", "-o", tmp_path / "out", *SMALL)
    assert "huge" in said and "its output is not finite in" in said and not (tmp_path / "out").exists()
