"""How a program runs: a user's mistake is one line and status 2, a bug shows its traceback."""

import io
import os
import sys
import typing
from collections.abc import Callable

from tools.cli.errors import UserError, one_line


def run(main: Callable[[], int | None]) -> typing.NoReturn:
    """Run a program's `main` and end the process with its status.

    A UserError, and an OSError of the operating system (a missing file, a full disk), become one line on stderr and
    status 2; Ctrl-C becomes status 130. Any other exception is a bug: Python prints its traceback and ends with
    status 1. With BACKFILL_TRACEBACK=1 in the environment one-line errors show their traceback too.
    """
    refuse_windows()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name need not be UTF-8, and must not end a program
    try:
        status = main() or 0
    except (UserError, OSError) as error:
        if not is_users(error) or os.environ.get("BACKFILL_TRACEBACK"):
            raise
        print(f"{rank_prefix()}error: {one_line(error)}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)


def refuse_windows() -> None:
    """End a program on Windows itself, whose Python lacks the file locks and signals of POSIX, with one line."""
    if os.name == "nt":
        print("error: Windows is not supported, run this under WSL2: see README.md, section Windows", file=sys.stderr)
        sys.exit(2)


def is_users(error: BaseException) -> bool:
    """Whether a user can cause and fix the error: a UserError, or an OSError with an error number of the system."""
    return isinstance(error, UserError) or (isinstance(error, OSError) and error.errno is not None)


def rank_prefix() -> str:
    """What begins a line of a process other than the first of a job."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f"[rank {rank}] "
