"""A full disk ends each program that writes files with status 2, the path and a remedy; nothing is left half done."""

import errno
import os

import pytest

from model.checkpoint import save_network
from tests.support.programs import refused
from tests.support.shards import make_data
from tests.tools.test_evaluate import tiny_network
from tests.tools.test_install_iw3 import iw3_folder
from tools import evaluate, export, peek, split, transfer
from tools.installing import __main__ as installing


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("full") / "data", records=4, frames=12, size=72, evaluation=2)


@pytest.fixture
def network(tmp_path):
    save_network(tmp_path / "a.pth", tiny_network())
    return tmp_path / "a.pth"


def commands(data, network, out):
    """By program, its `main`, its words, and what the message names."""
    evaluation = ("-i", data / "eval", "-o", out, "--baselines", "replicate", "--tile", 64, "--pictures", 0)
    return {
        "export": (export.main, ("--checkpoint", network, "-o", out / "x.pth"), "x.pth"),
        "peek": (peek.main, ("-i", data / "train", "-o", out / "x.png"), "x.png"),
        "split": (split.main, ("-i", data, "--num-samples", 1), ".tar"),
        "transfer": (transfer.main, ("-i", data, "-o", out), ".tar"),
        "install-iw3": (
            installing.main,
            ("--iw3", iw3_folder(out / "nunif"), "--checkpoint", network, "--no-trial"),
            "backfill.pth",
        ),
        "evaluate": (evaluate.main, (*evaluation, "--checkpoint", network), str(out)),
    }


PROGRAMS = ("evaluate", "export", "install-iw3", "peek", "split", "transfer")


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_full_disk_is_one_line_with_the_path_and_a_remedy(program, data, network, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    main, words, named = commands(data, network, out)[program]
    before = files(data), files(out)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    line = refused(main, *words)
    assert "No space left on device" in line and named in line and "free some space" in line
    kept = {path: content for path, content in files(out).items() if not path.name.endswith(".tmp")}
    assert (files(data), kept) == before
