"""What every program shares: flags from a dataclass, one-line errors, progress. Imports the standard library only."""

from tools.cli.errors import MissingFile, UserError, one_line, plural, redact
from tools.cli.flags import field_comments, parse
from tools.cli.program import run
from tools.cli.progress import Progress, duration

__all__ = [
    "MissingFile",
    "Progress",
    "UserError",
    "duration",
    "field_comments",
    "one_line",
    "parse",
    "plural",
    "redact",
    "run",
]
