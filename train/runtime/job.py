"""The job that a run is: what stays the same from its first step to its last."""

from dataclasses import dataclass, field
from pathlib import Path

from train.config import Config
from train.runtime.dist import Group
from train.runtime.signals import Stop
from train.runtime.writer import BackgroundWriter


@dataclass(frozen=True)
class Job:
    """The settings of a run, its processes, the signals that stop it, and the folder that it writes to."""

    config: Config
    group: Group
    stop: Stop
    folder: Path
    batch_size: int  # sequences of a forward pass in this process
    writer: BackgroundWriter = field(default_factory=BackgroundWriter)  # of checkpoints, in the first process

    def is_stopping(self) -> bool:
        """Whether any process was asked to stop, or a checkpoint could not be written; a collective operation."""
        return self.group.any(bool(self.stop.name) or self.writer.failed)

    def finish_writing(self) -> None:
        """Wait until the last checkpoint is on the disk. Every process raises the error of its writer."""
        self.group.first(self.writer.finish)
