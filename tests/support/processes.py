"""What /proc says of processes, which may end at any moment."""

from collections.abc import Iterator
from pathlib import Path


def stat(pid: int | str) -> list[str]:
    """State, parent and further fields of a process, as `proc(5)` lists them from the third on; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_running(pid: int | str) -> bool:
    """Whether a process has not ended; one whose status nobody has asked for has."""
    return stat(pid)[:1] not in ([], ["Z"])


def is_stopped(pid: int | str) -> bool:
    """Whether a process has been stopped as by Ctrl-Z."""
    return stat(pid)[:1] in (["T"], ["t"])


def children(pid: int) -> list[int]:
    """The processes that a process has started and not yet waited for, oldest first; not every kernel lists them."""
    found = [
        (int(fields[19]), int(path.name)) for path in processes() if (fields := stat(path.name))[1:2] == [str(pid)]
    ]
    return [child for _, child in sorted(found)]


def processes() -> Iterator[Path]:
    return (path for path in Path("/proc").iterdir() if path.name.isdigit())


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, directly or not."""
    return [one for child in children(pid) for one in (child, *descendants(child))]
