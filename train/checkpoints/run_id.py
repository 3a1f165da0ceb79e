"""The id of a run, which names its loss CSV, its curves and its backups."""

import re
import secrets
import time
from pathlib import Path

LENGTH = 20  # digits: 14 of the local start time, and 6 random ones


def new_run_id(logs: Path) -> str:
    """The local time and random digits: no other run has this id, also one that starts elsewhere in the same second.

    It sorts after the ids of earlier runs, whose folders are in `logs`, even if the clock was set back since.
    """
    names = [path.name for path in logs.iterdir()] if logs.is_dir() else []
    earlier = [name.ljust(LENGTH, "0") for name in names if re.fullmatch(rf"[0-9]{{14,{LENGTH}}}", name)]
    following = [str(int(run_id) + 1) for run_id in earlier if run_id != "9" * LENGTH]
    return max([time.strftime("%Y%m%d%H%M%S") + f"{secrets.randbelow(10**6):06d}", *following])
