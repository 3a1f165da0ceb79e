"""Errors that a user can cause and fix, and the wording of messages."""

import re

# the user and password of a URL, also of one with a mistyped `://`, and its query, which may hold a signature
CREDENTIALS = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*:/{1,3})[^\s'\"]*@")
QUERY = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*:/{1,3}[^\s?'\"]*)\?[^\s'\"]*")


class UserError(ValueError):
    """A user's file, flag or environment is at fault: what was found, what was expected, what fixes it.

    Programs print it as one line and end with status 2 (`tools.cli.run`). Any other exception, including a plain
    ValueError, is a bug and shows its traceback.
    """


class MissingFile(UserError, FileNotFoundError):
    """A file or folder that a user named does not exist."""


def one_line(message: object) -> str:
    """The text of an exception on one line, without credentials; for an OSError of the system with the file's name."""
    text = str(message)
    if isinstance(message, OSError) and message.strerror:
        text = f"{message.strerror}: {message.filename}" if message.filename else message.strerror
    return redact(" ".join(text.split()))


def redact(text: str) -> str:
    """The text with the user, password and query of each URL removed."""
    return QUERY.sub(r"\1?...", CREDENTIALS.sub(r"\1...@", text))


def plural(count: int, noun: str, nouns: str = "") -> str:
    """The number with its noun: "1 cut", "2 cuts"; `nouns` is an irregular plural."""
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"
