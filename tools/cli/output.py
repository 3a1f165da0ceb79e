"""Standard output on which no name of a file and no text of a stranger can rewrite what a terminal shows."""

import re
from typing import Any, TextIO

from tools.cli.errors import printable
from tools.cli.files import naming

NAME = "standard output"  # in errors

# control characters but tabs and line feeds, and characters that change the direction of a text
CONTROLS = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]")


class EscapedOutput:
    """A text stream that writes control characters as escapes such as `\\x1b`."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> int:
        with naming(NAME):
            return self.stream.write(CONTROLS.sub(lambda found: printable(found[0]), text))

    def flush(self) -> None:
        with naming(NAME):
            self.stream.flush()

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
