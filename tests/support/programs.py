"""The programs of the repository, and how tests run them without starting a process each time."""

import contextlib
import io
import sys
from collections.abc import Callable
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
