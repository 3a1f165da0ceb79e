"""Atomic writes: a file gets its name only when all of it is on the disk."""

import atexit
import contextlib
import hashlib
import io
import os
import re
import secrets
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tools.cli.errors import UserError

try:
    import fcntl
except ModuleNotFoundError:  # Windows, where every program ends with one line before it locks a file
    fcntl = None


LARGEST_TEXT = 64 << 20  # bytes of a file that is read whole, such as a configuration


class Held(threading.local):
    """The locks of this thread: device and inode of each file, and its name."""

    def __init__(self) -> None:
        self.names: dict[tuple[int, int], str] = {}


HELD = Held()
OPEN: set[Path] = set()  # temporary files and folders of this process, each noted before it is created
if fcntl:
    os.register_at_fork(after_in_child=OPEN.clear)  # they are the parent's


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[IO[bytes]]:
    """A file to write to. It is renamed to `path` when the block ends, and deleted when the block fails.

    Until then it is `NAME.PID.RANDOM.tmp` beside `path`, which no other process writes to. Such files of processes
    that were killed while they wrote the same `path` are deleted.

    Raises OSError with the file's name, for example when the disk is full; `path` then still holds what it held before.
    Raises UserError for a folder, a device or a pipe.
    """
    path = Path(path)
    check_replaceable(path)
    remove_leftovers(path.parent, re.escape(path.name))
    temporary, file = open_temporary(path)
    try:
        with naming(path), file:
            yield file
            sync(file)
            os.replace(temporary, path)
    finally:
        remove_temporary(temporary)
    sync_folder(path.parent)


def write_file(path: str | Path, data: bytes | memoryview) -> None:
    """Write a small file atomically: `path` holds either all of `data` or what it held before. Raises OSError."""
    with whole_file(path) as file:
        file.write(data)


def check_replaceable(path: Path) -> None:
    """Raise UserError for a folder, and for a device, a pipe or a socket, which a file of its name would remove."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder, expected the name of a file: name a file in it")
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: is a device or a pipe, which a file would replace: name another file")


def open_file(path: str | Path) -> io.BufferedReader:
    """A file to read from. Raises UserError for a pipe or a device, which may never begin or never end, or OSError."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # a pipe without a writer
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise UserError(f"{path}: is a device or a pipe, expected a file: copy its content to one")


def read_small(path: str | Path, limit: int = LARGEST_TEXT) -> bytes:
    """The content of a file of at most `limit` bytes. Raises as `open_file`, and UserError where it has more."""
    with naming(path), open_file(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise UserError(f"{path}: has more than {limit} bytes, the most that such a file may have: name another file")
    return data


def check_writable(folder: Path) -> None:
    """Raise OSError where a program could not write its results to a folder, which may not exist yet.

    It is asked before the work, which may take hours. Nothing is created.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        temporary, file = open_temporary(existing / "check")
    except OSError as error:
        error.filename = str(folder)
        raise
    remove_temporary(temporary)
    file.close()


def check_result(path: str | Path) -> None:
    """As `check_writable` and `check_replaceable`, for a file that a program writes at its end."""
    check_replaceable(Path(path))
    check_writable(Path(path).parent)


def append_line(path: str | Path, line: str) -> None:
    """Add a line to a file, which is created if it is missing. Raises OSError, and then adds no part of the line."""
    with naming(path), open(path, "ab", buffering=0) as file:
        end, data = os.fstat(file.fileno()).st_size, f"{line}\n".encode()
        try:
            while data:
                data = data[file.write(data) :]
            sync(file)
        except OSError:
            file.truncate(end)
            raise


def open_temporary(path: Path) -> tuple[Path, IO[bytes]]:
    """A new temporary file beside `path` and its name. It is locked while it is open: its writer is alive."""
    while True:
        temporary = temporary_path(path)
        file = open(temporary, "xb")
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if is_at(file, temporary):
            return temporary, file
        file.close()  # before it was locked, another process took it for a leftover and deleted it


def temporary_path(path: Path) -> Path:
    """A name beside `path` that no other process and no other thread uses; it ends in `.tmp`.

    What is created there is deleted when this process ends, unless `remove_temporary` was called before.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    OPEN.add(temporary)
    return temporary


def remove_temporary(temporary: Path) -> None:
    """Delete a temporary file or folder of this process, which may have been renamed since."""
    if temporary.is_dir():
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        temporary.unlink(missing_ok=True)
    OPEN.discard(temporary)


@atexit.register
def remove_temporaries() -> None:
    """Delete the temporary files of this process, which is ending.

    The blocks that write them do so too, but a signal may arrive between the creation of a file and its block.
    """
    for temporary in list(OPEN):
        with contextlib.suppress(OSError):
            remove_temporary(temporary)


def remove_leftovers(folder: Path, names: str) -> None:
    """Delete the temporary files whose writers no longer run, of all files whose name matches the pattern `names`.

    Files that cannot be locked are kept.
    """
    pattern = re.compile(rf"(?:{names})\.\d+\.[0-9a-f]{{8}}\.tmp")
    for name in filter(pattern.fullmatch, os.listdir(folder)):
        with contextlib.suppress(OSError), open(folder / name, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while the writer holds its lock
            os.unlink(folder / name)


def is_at(file: IO[Any], path: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def locked_folder(folder: str | Path, wait: bool = True) -> contextlib.AbstractContextManager[bool]:
    """As `locked`, for a folder. Raises OSError where it is missing or is none."""
    return _locked(folder, os.O_RDONLY | os.O_DIRECTORY, wait)


def locked(path: str | Path, wait: bool = True) -> contextlib.AbstractContextManager[bool]:
    """Inside the block this thread alone holds the lock of a file, which is created if it is missing.

    False when another holds it and `wait` is not set. A file system without locks is as if no other held it.
    Raises UserError where this thread would wait for itself: it holds the lock under another name, as by a link.
    """
    return _locked(path, os.O_RDWR | os.O_CREAT, wait)


@contextlib.contextmanager
def _locked(path, flags, wait):
    handle = os.open(path, flags, 0o666)
    found = os.fstat(handle)
    place = found.st_dev, found.st_ino
    try:
        if wait and place in HELD.names:
            raise UserError(f"{path}: is the same as {HELD.names[place]}, expected two of their own: remove the link")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = True
        except BlockingIOError:
            held = False
        except OSError:  # a file system without locks
            held = True
        with contextlib.ExitStack() as stack:
            if held and place not in HELD.names:
                HELD.names[place] = str(path)
                stack.callback(HELD.names.pop, place)
            yield held
    finally:
        os.close(handle)


@contextlib.contextmanager
def partial_file(path: Path) -> Iterator[IO[bytes]]:
    """A partly written file to append to, created if it is missing. One process at a time has it; others wait."""
    while True:
        with open(path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if is_at(file, path):  # its last owner may have renamed or deleted it
                yield file
                return


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Inside the block an OSError that names no file, as of a read or a write, gets this file's name."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.strerror:
            error.filename = str(path)
        raise


def sync(file: IO[bytes]) -> None:
    """Wait until everything written to `file` is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: str | Path) -> None:
    """Wait until new names and renames in `folder` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: str | Path) -> str:
    """The sha256 of a file, as hexadecimal digits."""
    with naming(path), open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
