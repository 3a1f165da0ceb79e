"""What every program shares: flags from a dataclass, one-line errors, progress. Needs fire, and nothing of ours."""

from tools.cli.errors import (
    MissingFile,
    UserError,
    is_of_machine,
    is_shortage,
    one_line,
    plural,
    printable,
    quoted,
    redact,
)
from tools.cli.flags.config_file import config_text
from tools.cli.flags.fields import field_comments
from tools.cli.flags.parsing import parse
from tools.cli.program import run
from tools.cli.progress import Progress, duration

__all__ = [
    "MissingFile",
    "Progress",
    "UserError",
    "config_text",
    "duration",
    "field_comments",
    "is_of_machine",
    "is_shortage",
    "one_line",
    "parse",
    "plural",
    "printable",
    "quoted",
    "redact",
    "run",
]
