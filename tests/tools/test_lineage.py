"""What a network was made of is in its file, is printed, and warns where an evaluation film was in training."""

import json
from dataclasses import replace

import pytest
import torch

from model.checkpoint import read_file, save_network
from pack.shards.record import encode
from pack.shards.shard import ShardWriter, list_shards
from tests.support.programs import refused, succeeds
from tests.support.shards import texture_record
from tests.tools.test_evaluate import SMALL, tiny_network
from tools.evaluate import main as evaluate
from tools.lineage import made_of
from tools.lineage.__main__ import main
from tools.lineage.made_of import as_lines, lineage_of, seen_by_other_shots, seen_in_training
from train.checkpoints.lineage import holes_of, lineage, sources_of, start_of
from train.checkpoints.state import Position
from train.config import Config
from train.data.dataset import TrainingData

FILM = {"video": "film.mp4", "bytes": 5, "sha256_of_ends": "ab" * 32}
SETTINGS = {"prefix": "p", "divergence_level": "1", "holes": {"forward": 0.25, "monobw": 0.75}, "mask_model": ""}


def write_shard(folder, source, settings, first=0, records=1):
    folder.mkdir(exist_ok=True)
    with ShardWriter(folder / f"s{first}.tar") as writer:
        for number in range(first, first + records):
            record = texture_record(number)
            writer.add(record.key, encode(record, "png"))
        writer.publish(source, settings)
    return folder


@pytest.fixture
def split(tmp_path):
    folder = write_shard(tmp_path / "split", FILM | {"part": 0}, SETTINGS, 0, 2)
    write_shard(folder, FILM | {"part": 1}, SETTINGS, 2)
    return write_shard(folder, FILM | {"video": "other.mp4", "sha256_of_ends": "cd" * 32}, {}, 3)


@pytest.fixture
def about(split):
    shards = list_shards(split)
    sources = sources_of([replace(shard, records=()) for shard in shards], [len(shard.records) for shard in shards])
    data = TrainingData(None, None, None, None, 0, None, {"fingerprint": "f00d"}, sources)
    position = Position("run", seed=7, epoch=3, step=99, best_metrics={"loss": 0.25})
    return lineage(Config(checkpoint_file="base"), data, position)


def test_parts_of_a_film_are_one_source_with_its_holes(about):
    first, second = about["sources"]
    assert first == FILM | {"prefix": "p", "divergence_level": "1", "holes": SETTINGS["holes"], "records": 3}
    assert second["records"] == 1 and second["holes"] == {"forward": 1.0}
    assert (about["steps"], about["epoch"], about["seed"], about["evaluation"]) == (99, 3, 7, {"loss": 0.25})
    assert about["start"] == start_of("base") and len(about["start"]["sha256"]) == 64
    assert start_of("gone.pth") is None


def test_holes_of_shards_of_every_kind_are_known():
    assert holes_of({"mask_model": "abc"}) == {"mlbw": 0.5, "forward": 0.5}
    assert holes_of({"truth": "rendered"}) == {"forward": 1.0}
    assert holes_of({"truth": "rendered", "warp": {"monobw": 1.0}}) == {"monobw": 1.0}


def test_the_lineage_of_a_file_is_printed(about, tmp_path):
    save_network(tmp_path / "a.pth", tiny_network(), {"lr": 1, "lineage": about})
    assert lineage_of(read_file(tmp_path / "a.pth")) == about  # as weights_only reads it
    out = succeeds(main, "--checkpoint", tmp_path / "a.pth")
    for words in (
        "dataset f00d: 4 records of 2 sources",
        "film.mp4: 3 records; holes forward 25 %, monobw 75 %; prefix p, divergence_level 1; sha256 of its ends abab",
        "trained for 99 steps, to epoch 3, seed 7",
        f"sha256 {about['start']['sha256']}",
        "evaluation: loss 0.25",
    ):
        assert words in out
    assert '"dataset": "f00d"' in succeeds(main, "--checkpoint", tmp_path / "a.pth", "--json")
    save_network(tmp_path / "b.pth", tiny_network())
    assert "does not say what it was made of" in succeeds(main, "--checkpoint", tmp_path / "b.pth")
    assert "--checkpoint is missing" in refused(main)


def test_shares_of_a_source_are_printed_as_percentages():
    rendered = {"video": "truth_0", "holes": {"forward": 1.0}, "warp": {"forward": 0.5, "mlbw": 0.5}, "records": 1}
    lines = as_lines({"sources": [rendered, rendered | {"video": "truth_9", "records": 2}]})
    assert lines[1] == "  truth_0, truth_9: 3 records; holes forward 100 %; warp forward 50 %, mlbw 50 %"


def test_evaluation_warns_of_films_that_were_in_training(about, split, tmp_path):
    save_network(tmp_path / "a.pth", tiny_network(), {"lineage": about})
    unseen = write_shard(tmp_path / "unseen", FILM | {"sha256_of_ends": "ef" * 32}, {})
    words = ("--checkpoint", tmp_path / "a.pth", "-o", tmp_path, "--baselines", "none", "--records", 1, *SMALL)
    assert "a.pth was trained on films of this split: film.mp4, other.mp4" in succeeds(evaluate, "-i", split, *words)
    assert "was trained on" not in succeeds(evaluate, "-i", unseen, *words)


def test_shots_that_were_held_out_are_not_those_of_the_training(tmp_path):
    trained = {"sources": [FILM | {"shots": "not:3/7"}]}
    held, same, all_of_it = (FILM | {"shots": shots} for shots in ("3/7", "not:3/7", "all"))
    assert seen_in_training(trained, [held]) == [] and seen_by_other_shots(trained, [held]) == ["film.mp4"]
    for film in (same, all_of_it, FILM):
        assert seen_in_training(trained, [film, held]) == ["film.mp4"]
        assert seen_by_other_shots(trained, [film, held]) == []
    shard = write_shard(tmp_path / "s", FILM, {"shots": "not:3/7", "divergence": 5.0, "divergence_level": "1"})
    (source,) = sources_of(list_shards(shard), [1])
    assert source == FILM | {"shots": "not:3/7", "divergence": 5.0, "holes": {"forward": 1.0}, "records": 1}


def test_textures_of_rendered_scenes_count_as_films_and_odd_files_as_unknown():
    rendered = {"sources": [{"video": "truth_0", "textures": [FILM]}, 5]}
    assert seen_in_training(rendered, [FILM]) == ["film.mp4"]
    assert seen_in_training({"sources": "x"}, [FILM]) == [] and seen_in_training({}, [{}]) == []
    assert lineage_of({"train_kwargs": {"lineage": 3}}) == {} and lineage_of({"train_kwargs": None}) == {}


@pytest.mark.parametrize("name", ["start", "sources", "steps", "epoch", "evaluation", "code", "dataset"])
@pytest.mark.parametrize("odd", ["abc", 5, [1], {"a": [1]}, {1: 2}, [{"holes": "x", "records": "y", "textures": 5}]])
def test_a_lineage_of_other_types_is_printed_without_what_is_odd(about, name, odd):
    found = lineage_of({"train_kwargs": {"lineage": about | {name: odd}}})
    assert as_lines(found) and json.dumps(found, allow_nan=False)
    assert seen_in_training({"sources": [{"sha256_of_ends": odd, "textures": odd}]}, [FILM]) == []


@pytest.mark.parametrize("odd", [torch.ones(3), float("nan"), "x" * 10**6, 2**100, [[[[[[[[1]]]]]]]]])
def test_a_lineage_holds_nothing_that_json_cannot(about, odd):
    found = lineage_of({"train_kwargs": {"lineage": about | {"code": odd}}})
    assert len(json.dumps(found, allow_nan=False)) < 5000


@pytest.mark.parametrize("odd", ["x" * 1000, {"a" * 1000: 1}, [], 1.0])
def test_a_lineage_that_is_written_as_gigabytes_is_none(about, odd, monkeypatch):
    monkeypatch.setattr(made_of, "MOST", 1000)
    monkeypatch.setattr(made_of, "MOST_CHARACTERS", 100_000)
    many = [[odd] * 40] * 40  # of one value, which a file holds once
    assert lineage_of({"train_kwargs": {"lineage": about | {"code": many}}}) == {}
    few = [[odd] * 4] * 4
    found = lineage_of({"train_kwargs": {"lineage": about | {"code": few}}})
    assert len(found["code"]) == len(found["code"][3]) == 4 and len(json.dumps(found)) < 20_000


def test_control_characters_of_a_lineage_do_not_reach_the_terminal(about):
    found = lineage_of({"train_kwargs": {"lineage": about | {"code": "a\x1b[2Jb\r\nc", "dataset": "\u202e"}}})
    assert all(line.isprintable() for line in as_lines(found))
