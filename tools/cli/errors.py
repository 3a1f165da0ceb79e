"""Errors that a user can cause and fix, and the wording of messages."""

import errno
import re
import reprlib
from typing import Any

# the user and password of a URL, also of one with a mistyped `://`, and its query, which may hold a signature
CREDENTIALS = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*:/{1,3})[^\s'\"]*@")
# the same behind the name of a store whose punctuation is mistyped, as in `s3;//KEY:SECRET@BUCKET`
MISTYPED = re.compile(r"(\b(?:s3a?|gcs?|gs|az|abfss?|hf|https?|ftp)[^\w'\"]{1,5})[^\s'\"]*@", re.IGNORECASE)
QUERY = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*:/{1,3}[^\s?'\"]*)\?[^\s'\"]*")

# texts of errors that are a lack of memory though Python has no MemoryError for them
UNMAPPED = "failed to map segment from shared object"  # of the loader, also in an OSError of ctypes
SHORTAGES = (
    UNMAPPED,
    "DefaultCPUAllocator: can't allocate",
    "CUDA out of memory",
    "std::bad_alloc",
    "can't start new thread",
    "Cannot allocate memory",
)


LIMITS = (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT)


class UserError(ValueError):
    """A user's file, flag or environment is at fault: what was found, what was expected, what fixes it.

    Programs print it as one line and end with status 2 (`tools.cli.run`). Any other exception, including a plain
    ValueError, is a bug and shows its traceback.
    """


class MissingFile(UserError, FileNotFoundError):
    """A file or folder that a user named does not exist."""


def is_shortage(error: BaseException) -> bool:
    """Whether the machine lacks memory, open files or disk space: the file that was being read may be whole.

    Code that takes an error for a damaged file asks this first, and raises the error again.
    """
    return is_out_of_memory(error) or (isinstance(error, OSError) and error.errno in LIMITS)


def is_of_machine(error: BaseException) -> bool:
    """Whether the machine has a shortage, or could not read: again, the file may be whole.

    EINVAL is of the file: a damaged ZIP names places before its beginning.
    """
    return is_shortage(error) or (isinstance(error, OSError) and error.errno not in (None, errno.EINVAL))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is a lack of memory, or came while one was being handled, as when a library cannot be loaded."""
    if isinstance(error, UserError):
        return False
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM
    words = SHORTAGES if isinstance(error, RuntimeError | ImportError) else (UNMAPPED,)
    says_so = isinstance(error, RuntimeError | ImportError | OSError) and any(word in str(error) for word in words)
    before = error.__cause__ or error.__context__
    return isinstance(error, MemoryError) or says_so or (before is not None and is_out_of_memory(before))


def one_line(message: object) -> str:
    """The text of an exception on one line, without credentials; for an OSError of the system with the file's name."""
    text = str(message)
    if isinstance(message, OSError) and message.strerror:
        name = str(message.filename or "").removeprefix("file:")  # FFmpeg's, which keeps a name from being a URL
        text = f"{message.strerror}: {name}" if name else message.strerror
    return printable(redact(" ".join(text.split())))


def printable(text: str) -> str:
    """The text with control characters, which could rewrite what a terminal shows, as escapes such as `\\x1b`."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def quoted(value: Any) -> str:
    """A value of an untrusted file, shortened to one line for a message."""
    if isinstance(value, str) and value.isascii() and value.isprintable() and 0 < len(value) <= 60:
        return value
    text = ascii(value) if isinstance(value, str) else _Short().repr(value).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= 60 else text[:40] + "..." + text[-10:]


class _Short(reprlib.Repr):
    """repr of the first values of a container, which may hold millions, or itself."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxlong = 3, 60, 60

    def repr_int(self, value: int, level: int) -> str:
        return super().repr_int(value, level) if value.bit_length() < 10_000 else "a number of many digits"

    def repr_instance(self, value: Any, level: int) -> str:
        return repr(value) if isinstance(value, bool | float | None) else f"a {type(value).__name__}"


def redact(text: str) -> str:
    """The text with the user, password and query of each URL removed."""
    return QUERY.sub(r"\1?...", MISTYPED.sub(r"\1...@", CREDENTIALS.sub(r"\1...@", text)))


def plural(count: int, noun: str, nouns: str = "") -> str:
    """The number with its noun: "1 cut", "2 cuts"; `nouns` is an irregular plural."""
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"
