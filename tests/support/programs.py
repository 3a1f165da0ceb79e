"""The programs of the repository, and how tests run them without starting a process each time."""

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from unittest import mock

import pytest

from tests.support import ROOT
from tools import cli

PROGRAMS = sorted(
    path
    for folder in ("pack", "train", "model", "tools")
    for path in (ROOT / folder).rglob("*.py")
    if "\n    cli.run(main)" in path.read_text()
)


def run_program(main: Callable[[], int | None], *words: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a program that gets these words."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["program", *map(str, words)]
    with (
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        cli.run(main)
    return ended.value.code, out.getvalue(), err.getvalue()


def succeeds(main: Callable[[], int | None], *words: object) -> str:
    """What the program prints; its status must be 0."""
    status, out, err = run_program(main, *words)
    assert status == 0, err
    return out


def refused(main: Callable[[], int | None], *words: object) -> str:
    """The one line with which the program ends; its status must be 2."""
    status, _, err = run_program(main, *words)
    assert status == 2 and err.count("\n") == 1
    return err


HELD = """if True:
    import importlib, sys
    from tools import cli
    module, path, *words = sys.argv[1:]
    place, _, function = path.rpartition(".")

    def wait(*_, **__):
        print("held", flush=True)
        sys.stdin.read()

    setattr(importlib.import_module(place), function, wait)
    sys.argv = [module, *words]
    cli.run(importlib.import_module(module).main)
    """


@contextlib.contextmanager
def held_at(path: str, module: str, *words: object) -> Iterator[subprocess.Popen]:
    """A process of the program `module` that waits where it calls the function at a dotted path, killed at the end."""
    command = [sys.executable, "-c", HELD, module, path, *map(str, words)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe) as process:
        try:
            while (line := process.stdout.readline()) != "held\n":
                assert line, "the program ended before"
            yield process
        finally:
            process.kill()
