"""What a user passes to make reaches the programs as it is."""

import os
import re
import shutil
import subprocess

import pytest

from tests.support import ROOT


@pytest.fixture
def words(tmp_path):
    """Runs make in a checkout whose Python only shows its arguments; the lines that it prints, split at |."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nfor word; do printf '%s|' \"$word\"; done; echo\n")
    python.chmod(0o755)
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/clips.py").touch()
    shutil.copy(python, python.with_name("torchrun"))
    for name in ("core", "baselines", "clips", "inspect", "s3", "test"):
        (tmp_path / f".venv/{name}.installed").touch()

    def run(*arguments):
        environment = {"PATH": os.environ["PATH"]}
        done = subprocess.run(
            ["make", "-s", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()[-1].split("|")[:-1]

    return run


AWKWARD = [
    "My Film (2020).mp4",
    'it\'s "one".mp4',
    "a $(touch ran) `touch ran` $HOME.mp4",
    "a[1]*.mp4",
    "-a; touch ran",
]


@pytest.mark.parametrize("name", AWKWARD)
def test_names_reach_the_programs_as_they_are_and_nothing_in_them_runs(words, tmp_path, name):
    (tmp_path / name).touch()
    path = f"./{name}" if name.startswith("-") else name  # else it would be an option
    assert words("stereo", f"VIDEO={name}", f"OUT=to {name}") == [
        *("tools/stereo.py", "--video", path, "-o", f"to {name}")
    ]
    assert words("film", f"VIDEO={name}", f"DEPTH={name}")[1:5] == ["--video", path, "--depth", path]
    assert words("shards", f"VIDEO={name}", f"OUT={name}") == ["pack/main.py", "--video", path, "-o", path]
    assert words("shards", f"JOBS={name}", f"DATA={name}") == ["pack/jobs.py", "--jobs", path, "-o", path]
    assert not (tmp_path / "ran").exists()


def test_the_command_that_runs_is_printed_with_its_values(words, tmp_path):
    environment = {"PATH": os.environ["PATH"]}
    arguments = ["make", "stereo", "VIDEO=a.mp4", "ARGS=--seconds 5"]
    words("stereo", "VIDEO=a.mp4")  # with the stamps in place nothing else is printed
    done = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == "+ exec .venv/bin/python tools/stereo.py --video a.mp4 --seconds 5\n"


def test_make_does_not_expand_a_name(words, tmp_path):
    words("stereo", "VIDEO=$(shell touch ran)")
    assert not (tmp_path / "ran").exists()


def documented():
    """Each target and the variables that its help names, but ARGS, whose words the shell reads."""
    lines = re.findall(r"^([a-z0-9-]+):.*## (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    found = {target: sorted(set(re.findall(r"\b([A-Z_0-9]+)=", text)) - {"ARGS", "EXTRAS"}) for target, text in lines}
    return [(target, names) for target, names in found.items() if names]


@pytest.mark.parametrize("target, names", documented(), ids=[target for target, _ in documented()])
def test_no_value_of_a_documented_variable_runs(words, tmp_path, target, names):
    value = "a $(shell touch ran1) `touch ran2` $$(touch ran3) ; touch ran4"
    for some in (names, [name for name in names if name != "JOBS"]):
        assert "ran2`" in " ".join(words(target, *(f"{name}={value}" for name in some)))
    assert not [*tmp_path.glob("ran*")]


def test_several_videos_and_globs_are_several_words(words, tmp_path):
    assert words("shards", "VIDEO=a.mp4 films/*.mp4")[1:4] == ["--video", "a.mp4", "films/*.mp4"]
    (tmp_path / "My films").mkdir()
    for name in ("a b.mp4", "c.mp4"):
        (tmp_path / "My films" / name).touch()
    assert words("shards", "VIDEO=My films/*.mp4")[1:4] == ["--video", "My films/a b.mp4", "My films/c.mp4"]


def test_in_a_folder_that_cannot_be_written_to_setup_says_so():
    words = ["make", "-f", "-", ".venv/bin/python"]
    makefile, nobody = (ROOT / "Makefile").read_bytes(), 65534 if os.getuid() == 0 else None
    done = subprocess.run(words, input=makefile, cwd="/", user=nobody, capture_output=True)
    lines = done.stderr.decode() + done.stdout.decode()
    assert done.returncode == 2 and "error: no file can be written to /: clone the repository into" in lines
    assert "python3-venv" not in lines
