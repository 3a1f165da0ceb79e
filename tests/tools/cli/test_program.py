import errno
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.programs import PROGRAMS, run_program
from tools import cli
from tools.cli import MissingFile, UserError

USER_ERRORS = {
    "UserError": UserError("a\nb"),
    "MissingFile": MissingFile("a b"),
    "OSError of the system": FileNotFoundError(errno.ENOENT, "No such file", "x.mp4"),
    "full disk": OSError(errno.ENOSPC, "No space left on device"),
}
BUGS = [ValueError("bug"), TypeError("bug"), RuntimeError("bug"), KeyError("bug"), OSError("no error number")]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def raising(error):
    def function(*_, **__):
        raise error

    return function


def run_file(path: Path, monkeypatch) -> None:
    """What Python does for `python path --help`, in this process."""
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.setattr(sys, "path", [str(path.parent), *sys.path])
    runpy.run_path(str(path), run_name="__main__")


@pytest.mark.parametrize("kind", USER_ERRORS)
def test_a_users_error_is_one_line_and_status_2(kind):
    status, out, err = run_program(raising(USER_ERRORS[kind]))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")


@pytest.mark.parametrize("bug", BUGS, ids=repr)
def test_a_bug_is_not_turned_into_a_line(bug):
    with pytest.raises(type(bug), match=r"bug|number"):
        cli.run(raising(bug))


@pytest.mark.parametrize("kind", ["ValueError", "KeyError"])
def test_a_bug_shows_its_traceback_and_ends_with_status_1(kind):
    code = f"from tools import cli\ndef main():\n    raise {kind}('bug')\ncli.run(main)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback") and f"{kind}: " in done.stderr


@pytest.mark.parametrize("path", PROGRAMS, ids=name_of)
@pytest.mark.parametrize("bug", [ValueError, TypeError, RuntimeError, KeyError])
def test_no_program_turns_a_bug_into_a_line(path, bug, monkeypatch):
    monkeypatch.setattr(cli, "parse", raising(bug("planted")))
    with pytest.raises(bug, match="planted"):
        run_file(path, monkeypatch)


@pytest.mark.parametrize("path", PROGRAMS, ids=name_of)
def test_every_program_shows_a_users_error_as_one_line(path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "parse", raising(UserError("planted")))
    with pytest.raises(SystemExit) as ended:
        run_file(path, monkeypatch)
    assert (ended.value.code, capsys.readouterr().err) == (2, "error: planted\n")


def test_every_program_of_the_repository_is_tested():
    assert {"pack.main", "pack.jobs", "train.main", "tools.split", "tools.bench"} <= set(map(name_of, PROGRAMS))


def test_the_environment_can_ask_for_the_traceback_of_a_users_error(monkeypatch):
    monkeypatch.setenv("BACKFILL_TRACEBACK", "1")
    with pytest.raises(UserError):
        cli.run(raising(UserError("planted")))


def test_a_later_rank_of_a_job_says_which_one_it_is(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    assert run_program(raising(UserError("planted")))[2] == "[rank 3] error: planted\n"


def test_ctrl_c_is_one_line_and_status_130():
    status, _, err = run_program(raising(KeyboardInterrupt()))
    assert (status, err) == (130, "interrupted\n")


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (3, 3)])
def test_the_status_is_what_main_returns(returned, status):
    assert run_program(lambda: returned)[0] == status
