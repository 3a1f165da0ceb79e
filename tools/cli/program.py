"""How a program runs: a user's mistake is one line and status 2, a bug shows its traceback."""

import contextlib
import errno
import io
import json
import os
import sys
import threading
import time
import traceback
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.cli.errors import UserError, is_out_of_memory, is_shortage, one_line
from tools.cli.files import naming, write_file
from tools.cli.machine import guard_imports
from tools.cli.output import NAME, EscapedOutput
from tools.cli.signals import none_lost

ROOT = Path(__file__).resolve().parents[2]
RESERVE = 2 << 20  # bytes that are freed for the last line of a program that lacks memory
LESS = ": end other programs, or ask for less"
REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space, or choose another folder"),
    errno.EFBIG: "raise the limit of file sizes, or choose another folder",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "give permission, or choose another folder"),
    errno.EEXIST: "a file has this name, choose another one",
    errno.ENOTDIR: "a part of this path is a file, choose another path",
    errno.EISDIR: "this is a folder, name a file",
    errno.EROFS: "choose a folder that can be written to",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit of open files (ulimit -n), or end other programs"),
}


def run(main: Callable[[], int | None]) -> typing.NoReturn:
    """Run a program's `main` and end the process with its status.

    A UserError, an OSError of the operating system (a missing file, a full disk), and a lack of memory become one line
    on stderr and status 2; Ctrl-C becomes status 130. Any other exception is a bug: Python prints its traceback and
    ends with status 1. With BACKFILL_TRACEBACK=1 in the environment one-line errors show their traceback too.
    """
    refuse_windows()
    open_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name need not be UTF-8, and must not end a program
    guard_imports()
    reserve = bytearray(RESERVE)
    try:
        with none_lost(), ending_with_threads(), contextlib.redirect_stdout(EscapedOutput(sys.stdout)):
            status = main() or 0
        flush_output()
    except Exception as error:
        del reserve
        line = users_line(error)
        if not line or os.environ.get("BACKFILL_TRACEBACK"):
            raise
        say_error(line)
        status = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)


def open_standard_streams() -> None:
    """Put /dev/null in the place of standard streams that are closed.

    Otherwise a file that the program writes would get the number of one, and what libraries print would go into it.
    """
    for number, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            setattr(sys, name, open(number, mode, closefd=False))


@contextlib.contextmanager
def ending_with_threads() -> Iterator[None]:
    """Inside the block a thread that ends for lack of memory ends the program, with one line and status 2.

    Such a thread may belong to a library, as that which hands out the work of a pool of processes: the rest of the
    program would wait for it forever.
    """
    before = threading.excepthook

    def end(thrown: threading.ExceptHookArgs) -> None:
        error = thrown.exc_value
        if not isinstance(error, Exception) or not is_out_of_memory(error):
            before(thrown)
            return
        say_error(users_line(error))
        from multiprocessing import active_children  # only a program with threads needs it

        for child in active_children():
            child.kill()
        os._exit(2)

    threading.excepthook = end
    try:
        yield
    finally:
        threading.excepthook = before


def say_error(line: str | None) -> None:
    """Print the one line of a user's mistake, and give it to torchrun."""
    print(f"{rank_prefix()}error: {line}", file=sys.stderr, flush=True)
    tell_torchrun(f"error: {line}")


def tell_torchrun(line: str) -> None:
    """Give torchrun, where it started this process, the line for its summary, which ends with what failed first."""
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        # its report shows the call stack, and not the message, where there is one
        details = {"py_callstack": line, "timestamp": str(int(time.time()))}
        with contextlib.suppress(OSError):
            write_file(path, json.dumps({"message": {"message": line, "extraInfo": details}}).encode())


def flush_output() -> None:
    """Write what waits in standard output. Raises OSError where it cannot be written, once: not at the end again."""
    try:
        with naming(NAME):
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise


def refuse_windows() -> None:
    """End a program on Windows itself, whose Python lacks the file locks and signals of POSIX, with one line."""
    if os.name == "nt":
        print("error: Windows is not supported, run this under WSL2: see README.md, section Windows", file=sys.stderr)
        sys.exit(2)


def is_users(error: BaseException) -> bool:
    """Whether the error is of a user's file: a UserError, or an OSError of the system other than a lack of memory."""
    is_systems = isinstance(error, OSError) and error.errno is not None and not is_out_of_memory(error)
    return isinstance(error, UserError) or is_systems


def is_of_file(error: BaseException) -> bool:
    """Whether the file that was being read may be at fault: as `is_users`, but the machine lacks nothing."""
    return is_users(error) and not is_shortage(error)


def users_line(error: Exception) -> str:
    """What a user is told of an error: what is wrong, where, and what to do; empty for a bug."""
    try:
        if is_out_of_memory(error):
            words = one_line(error)[:200]
            return f"out of memory in {place_of(error)}{f' ({words})' if words else ''}{LESS}"
    except MemoryError:  # there is too little for these words, too
        return "out of memory" + LESS
    if not is_users(error):
        return ""
    remedy = "" if isinstance(error, UserError) else REMEDIES.get(getattr(error, "errno", None) or 0, "")
    return one_line(error) + (f": {remedy}" if remedy else "")


def place_of(error: BaseException) -> str:
    """The innermost function of this project that an error comes from."""
    frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [code for code in frames if Path(code.co_filename).is_relative_to(ROOT)]
    inside = [code for code in ours if "site-packages" not in code.co_filename]
    return f"{inside[-1].co_name} of {Path(inside[-1].co_filename).relative_to(ROOT)}" if inside else "this program"


def rank_prefix() -> str:
    """What begins a line of a process other than the first of a job."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f"[rank {rank}] "
