"""One process at a time holds a lock, which names it."""

import os
import re
import socket
import subprocess
import sys

import pytest

from tests.support import ROOT
from tools.cli import UserError, locks, one_line
from tools.cli.locks import hold, patience

HOLDER = """if True:
    import sys
    from pathlib import Path
    from tools.cli.locks import hold
    with hold(Path(sys.argv[1]), str):
        print("held", flush=True)
        sys.stdin.read()
    """


def holder(path):
    """A process that holds the lock until its input ends."""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", HOLDER, path], cwd=ROOT, text=True, stdin=pipe, stdout=pipe)
    assert process.stdout.readline() == "held\n"
    return process


def refusal(owner):
    return f"held by {owner}"


def owner_of(process):
    return f"process {process.pid} on {socket.gethostname()}"


def test_a_lock_names_its_owner_and_is_deleted_with_a_folder_that_stays_empty(tmp_path):
    path = tmp_path / "new" / "a.lock"
    with hold(path, refusal, " of job night"):
        assert path.read_text() == f"process {os.getpid()} on {socket.gethostname()} of job night\n"
    assert not path.parent.exists()
    with hold(path, refusal):
        (path.parent / "result").touch()
    assert [file.name for file in path.parent.iterdir()] == ["result"]


def test_a_second_process_is_refused_until_the_first_ends_or_is_killed(tmp_path):
    path = tmp_path / "a.lock"
    for end in (lambda process: process.communicate(), lambda process: process.kill()):
        with holder(path) as first:
            with pytest.raises(UserError, match=f"^held by {re.escape(owner_of(first))}$"), hold(path, refusal):
                pass
            end(first)
            first.wait()
            with hold(path, refusal):
                assert path.read_text().startswith(f"process {os.getpid()} on ")
    assert list(tmp_path.iterdir()) == []


def test_who_has_patience_waits_for_the_end_of_the_owner_and_says_so(tmp_path, monkeypatch, capsys):
    path = tmp_path / "a.lock"
    with holder(path) as first:
        owner = owner_of(first)
        monkeypatch.setattr(locks.time, "sleep", lambda _: first.communicate())
        with hold(path, refusal, wait=patience(60, lambda owner: f"waiting for {owner}")):
            assert capsys.readouterr().out == f"waiting for {owner}\n"
    with holder(path), pytest.raises(UserError), hold(path, refusal, wait=patience(0, str)):
        pass


def test_an_owner_of_bytes_that_are_no_text_is_named_in_one_line(tmp_path):
    path = tmp_path / "a.lock"
    with holder(path) as first:
        path.write_bytes(b"\xff\x00\x1b[2Jx")
        with pytest.raises(UserError) as caught, hold(path, refusal):
            pass
        first.communicate()
    assert "\\xff" in one_line(caught.value) and one_line(caught.value).isprintable()
