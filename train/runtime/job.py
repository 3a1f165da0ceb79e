"""The job that a run is: what stays the same from its first step to its last."""

from dataclasses import dataclass
from pathlib import Path

from train.config import Config
from train.runtime.dist import Group
from train.runtime.signals import Stop


@dataclass(frozen=True)
class Job:
    """The settings of a run, its processes, the signals that stop it, and the folder that it writes to."""

    config: Config
    group: Group
    stop: Stop
    folder: Path
    batch_size: int  # sequences of a forward pass in this process

    def is_stopping(self) -> bool:
        """Whether any process was asked to stop; a collective operation."""
        return self.group.any(bool(self.stop.name))
