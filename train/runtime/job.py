"""The job that a run is: what stays the same from its first step to its last."""

from dataclasses import dataclass, field
from pathlib import Path

from train.config import Config
from train.runtime.dist import Group
from train.runtime.signals import Stop
from train.runtime.writer import BackgroundWriter


@dataclass(frozen=True)
class Passes:
    """The forward passes of a process in each optimizer step."""

    sizes: tuple[int, ...]  # sequences of each pass
    fewest: int  # passes of the process that has the fewest
    most: int

    @property
    def batch_size(self) -> int:
        """Sequences of the largest pass."""
        return max(self.sizes)


@dataclass(frozen=True)
class Job:
    """The settings of a run, its processes, the signals that stop it, and the folder that it writes to."""

    config: Config
    group: Group
    stop: Stop
    folder: Path
    passes: Passes  # of this process in each step
    writer: BackgroundWriter = field(default_factory=BackgroundWriter)  # of checkpoints, in the first process

    def is_stopping(self) -> bool:
        """Whether any process was asked to stop, or a checkpoint could not be written; a collective operation."""
        return self.group.any(bool(self.stop.name) or self.writer.failed)

    def finish_writing(self) -> None:
        """Wait until the last checkpoint is on the disk. Every process raises the error of its writer."""
        self.group.first(self.writer.finish)
