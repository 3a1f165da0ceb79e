"""The sources of a mixture and their splits."""

import shutil

import pytest

from tests.support.shards import make_data, make_split
from tools.cli import MissingFile
from train.config import Config
from train.data.sources import load_split


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    make_data(folder / "a")
    make_split(folder / "b" / "train", 4, first=100)
    return folder


def mixture(*paths):
    return Config(data_dir=",".join(map(str, paths)), tile=64)


def test_a_source_of_a_mixture_may_lack_the_evaluation_split(sources, capsys):
    config = mixture(sources / "a", sources / "b")
    assert len(load_split(config, "train")) == 6 + 4
    assert len(load_split(config, "eval")) == 2
    assert f"{sources / 'b'} has no eval/: evaluating on the other sources" in capsys.readouterr().out


def test_a_mixture_without_any_evaluation_split_is_refused(sources, tmp_path):
    shutil.copytree(sources / "b", tmp_path / "c")
    for config in (mixture(sources / "b"), mixture(sources / "b", tmp_path / "c")):
        with pytest.raises(MissingFile, match=r"no such folder, expected .*/b/train and .*/b/eval"):
            load_split(config, "eval")


def test_every_source_needs_the_training_split(sources, tmp_path):
    shutil.copytree(sources / "a" / "eval", tmp_path / "d" / "eval")
    with pytest.raises(MissingFile, match="d/train: no such folder"):
        load_split(mixture(sources / "a", tmp_path / "d"), "train")
    with pytest.raises(MissingFile, match=r"a/train/train: no such folder, .*/a/train is a split, name .*/a instead$"):
        load_split(mixture(sources / "a" / "train"), "train")
