import errno
import os
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
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


def raising_after(first, error):
    def function():
        try:
            raise first
        except type(first):
            raise error  # noqa: B904 # as libraries do

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


def too_much_memory():
    return bytearray(1 << 60)


SHORT_OF_MEMORY = {
    "Python": too_much_memory,
    "numpy": lambda: np.zeros(1 << 56, np.uint8),
    "torch": raising(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ...")),
    "the system": raising(OSError(errno.ENOMEM, "Cannot allocate memory")),
    "C++": raising(RuntimeError("std::bad_alloc")),
    "CUDA": raising(RuntimeError("CUDA out of memory. Tried to allocate 2.50 GiB.")),
    "threads": raising(RuntimeError("can't start new thread")),
    "a library": raising(OSError("libx.so: failed to map segment from shared object")),
    "what follows it": raising_after(MemoryError(), OSError("Could not find/load shared object file 'libx.so'")),
}


def test_a_name_of_a_file_cannot_rewrite_what_a_terminal_shows():
    status, out, _ = run_program(lambda: print("a\x1b[2J\rb\x9b\u202ec\u2028.tar: 映画\u3000é\tok\n2 records"))
    assert (status, out) == (0, "a\\x1b[2J\\rb\\x9b\\u202ec\\u2028.tar: 映画\u3000é\tok\n2 records\n")


@pytest.mark.parametrize("kind", SHORT_OF_MEMORY)
def test_a_lack_of_memory_is_one_line_that_says_what_was_being_done(kind):
    status, _, err = run_program(SHORT_OF_MEMORY[kind])
    assert status == 2 and err.count("\n") == 1
    assert err.startswith("error: out of memory in ") and "tests/tools/cli/test_program.py" in err


def test_a_lack_of_memory_for_the_line_itself_is_one_line(monkeypatch):
    monkeypatch.setattr("tools.cli.program.place_of", raising(MemoryError()))
    status, _, err = run_program(too_much_memory)
    assert (status, err) == (2, "error: out of memory: end other programs, or ask for less\n")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "can be written to"),
        (errno.EACCES, "give permission"),
        (errno.EEXIST, "a file has this name"),
        (errno.ENOTDIR, "a part of this path is a file"),
        (errno.EISDIR, "name a file"),
    ],
)
def test_a_full_or_read_only_disk_is_named_with_a_remedy(number, words):
    status, _, err = run_program(raising(OSError(number, "what the system says", "out/x.tar")))
    assert status == 2 and err.startswith("error: what the system says: out/x.tar: ") and words in err


def test_a_full_disk_behind_standard_output_is_an_error():
    code = "from tools import cli; cli.run(lambda: print('done'))"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-c", code]
        done = subprocess.run(words, cwd=ROOT, env=env, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "standard output: free some space" in done.stderr


def test_output_that_cannot_be_written_at_once_names_standard_output():
    code = "from tools import cli; cli.run(lambda: print('x' * 100_000))"
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-c", code]
        done = subprocess.run(words, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: No space left on device: standard output: free ")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_is_printed_to_a_closed_stream_goes_into_no_file_of_the_program(closed, tmp_path):
    code = """if True:
        import os, sys
        from tools import cli

        def main():
            with open(sys.argv[1], "w") as file:
                print("words")
                print("words", file=sys.stderr)
                for number in (1, 2):
                    os.write(number, b"words of a library")
                file.write("data")

        cli.run(main)
        """
    words = ["sh", "-c", f'exec "$0" -c "$1" "$2" {closed}', sys.executable, code, tmp_path / "file"]
    assert subprocess.run(words, cwd=ROOT, capture_output=True).returncode == 0
    assert (tmp_path / "file").read_text() == "data"


WITH_THREADS = """
import multiprocessing, threading, time
from tools import cli

def fail():
    raise {error}

def main():
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,)).start()
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    {then}

cli.run(main)
"""


def test_a_thread_that_ends_for_lack_of_memory_ends_the_program_and_its_processes():
    code = WITH_THREADS.format(error='RuntimeError("can\'t start new thread")', then="time.sleep(600)")
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=480)
    assert found.returncode == 2 and found.stderr.count("\n") == 1
    assert found.stderr.startswith("error: out of memory in ") and "can't start new thread" in found.stderr


def test_a_bug_of_a_thread_shows_its_traceback_and_the_program_goes_on():
    then = "multiprocessing.active_children()[0].kill(); print('went on')"
    code = WITH_THREADS.format(error='RuntimeError("bug")', then=then)
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=480)
    assert found.returncode == 0 and "went on" in found.stdout and "RuntimeError: bug" in found.stderr


@dataclass(frozen=True)
class NoFlags:
    """A program without flags."""


def mistype_a_flag():
    return cli.parse(NoFlags, ["--nowhere", "1"])


@pytest.mark.parametrize("mistake", [raising(UserError("data: no such folder: pack a video")), mistype_a_flag])
def test_the_summary_of_torchrun_ends_with_the_line_of_the_process_that_failed_first(mistake, tmp_path, monkeypatch):
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure  # takes seconds

    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    status, _, err = run_program(mistake)
    failure = ProcessFailure(0, 1, status, str(tmp_path / "error.json"))
    *_, last, border = ChildFailedError("main.py", {0: failure}).format_msg().splitlines()
    assert last.split(" : ", 1) == ["  traceback", err.strip()] and set(border) == {"="}
