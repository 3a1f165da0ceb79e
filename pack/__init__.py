"""Videos become shards."""

from tools.cli.program import refuse_windows

refuse_windows()  # before a module imports what only POSIX has
