import os
import signal
import subprocess
import sys
import time

import pytest

from tools.cli import UserError
from tools.film.programs import run as program
from tools.film.programs.run import ROOT, run

ASKED = """
import os, signal, sys, time
from pathlib import Path
def end(*_):
    Path(sys.argv[1] + os.environ.get("RANK", "")).write_text("asked to end")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
Path(sys.argv[1] + "began" + os.environ.get("RANK", "")).write_text("")
time.sleep(100)
"""


@pytest.fixture
def asked(tmp_path):
    """A program that notes in a file that it was asked to end."""
    (tmp_path / "asked.py").write_text(ASKED)
    return tmp_path / "asked.py"


@pytest.mark.parametrize("ranks", [[""], ["0", "1"]])
def test_a_program_that_ran_long_enough_is_asked_to_end_and_that_is_no_failure(asked, tmp_path, ranks):
    began = [tmp_path / f"x-began{rank}" for rank in ranks]
    run(asked, tmp_path / "x-", processes=len(ranks), enough=lambda: all(path.exists() for path in began))
    assert [(tmp_path / f"x-{rank}").read_text() for rank in ranks] == ["asked to end"] * len(ranks)


def test_of_processes_that_fail_only_their_own_words_are_shown(tmp_path):
    (tmp_path / "bad.py").write_text("import sys; sys.stderr.write('error: one line\\n'); sys.exit(2)")
    call = f"from tools.film.programs.run import run; run({str(tmp_path / 'bad.py')!r}, processes=2)"
    done = subprocess.run([sys.executable, "-c", call], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and set(done.stderr.splitlines()) == {"error: one line"} and not done.stdout


def test_a_program_that_fails_ends_the_command_with_its_status(tmp_path):
    (tmp_path / "bad.py").write_text("import sys; sys.exit(2)")
    with pytest.raises(SystemExit) as ended:
        run(tmp_path / "bad.py")
    assert ended.value.code == 2


def test_a_program_that_was_killed_is_said_in_one_line(tmp_path):
    (tmp_path / "killed.py").write_text("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(UserError, match=r"killed\.py was killed, .* where memory ran out: what is finished stays"):
        run(tmp_path / "killed.py")


def test_a_stage_ends_when_the_command_is_killed(asked, tmp_path):
    call = f"from tools.film.programs.run import run; run({str(asked)!r}, {str(tmp_path / 'child')!r})"
    command = subprocess.Popen([sys.executable, "-c", call], cwd=ROOT)
    while not (tmp_path / "childbegan").exists():
        assert command.poll() is None
        time.sleep(0.02)
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    said = tmp_path / "child"
    while not (
        said.exists() and said.read_text() == "asked to end"
    ):  # one that goes on runs into the tests' time limit
        time.sleep(0.02)


def test_a_stage_whose_command_is_killed_before_it_can_ask_for_that_does_not_begin(asked, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(program.os, "getpid", lambda: 0)  # the parent has another number by then
        begin = program.end_with_parent()
    done = subprocess.run([sys.executable, asked, tmp_path / "child"], preexec_fn=begin)
    assert done.returncode == 128 + signal.SIGTERM
    assert not (tmp_path / "childbegan").exists()
