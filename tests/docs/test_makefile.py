"""What `make` prints, and what it does where something is missing."""

import re
import subprocess

import pytest

from tests.support.documents import ROOT, makefile


def make(*words, path):
    return subprocess.run(
        ["make", *words], cwd=ROOT, env={"PATH": str(path)}, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def commands(tmp_path):
    """A folder of programs that holds those that make itself needs, and a virtual environment beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("make", "sh", "sed", "expand", "touch", "cat", "id"):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (folder / name).symlink_to(found)
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return folder


def install(commands, script):
    """`make` of the mark that a browser is installed, with an apt-get that does what the script says."""
    for name in ("apt-get", "sudo"):
        (commands / name).write_text(f"#!/bin/sh\n{script}\n")
        (commands / name).chmod(0o755)
    venv = commands.parent / "venv"
    return make(f"VENV={venv}", f"{venv}/browser.installed", path=commands)


def test_help_lists_every_target_with_what_it_does(commands):
    lines = make("help", path=commands).stdout.splitlines()
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert sorted(phony) == sorted(makefile())
    assert [re.match(r"  make ([a-z0-9-]+) +\S", line)[1] for line in lines] == phony


def test_what_apt_prints_goes_to_a_log(commands):
    done = install(commands, "echo a thousand lines; echo more of them >&2")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert "thousand lines" in (commands.parent / "venv" / "chromium.log").read_text()


def test_an_installation_that_fails_shows_its_log_and_what_to_do(commands):
    done = install(commands, "echo no such package; exit 100")
    assert done.returncode and "no such package" in done.stderr and "apt-get install chromium" in done.stderr


@pytest.mark.parametrize("words", [("trian",), ("setup", "EXTRAS=deph")])
def test_a_target_and_an_extra_that_do_not_exist_are_one_line(commands, words):
    venv = commands.parent / "venv"
    (venv / "core.installed").touch()
    done = make(f"VENV={venv}", *words, path=commands)
    assert done.returncode == 2 and re.search(r"^error: there is no target \S*(trian|deph)", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(("target", "variable"), [("shards", "VIDEO"), ("push", "DEST"), ("stereo", "VIDEO")])
def test_a_missing_variable_is_named(commands, target, variable):
    venv = commands.parent / "venv"
    for stamp in ("core", "s3"):
        (venv / f"{stamp}.installed").touch()
    done = make(f"VENV={venv}", target, path=commands)
    assert done.returncode == 2 and f"error: {variable} is missing" in done.stdout
