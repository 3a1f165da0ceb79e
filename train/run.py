"""A training run: the parts that its loop works with."""

from dataclasses import dataclass

from train.checkpoints.save import save_checkpoint
from train.checkpoints.state import Position
from train.data.dataset import TrainingData
from train.objectives.learner import Learner
from train.runtime.job import Job
from train.runtime.log import Curves
from train.runtime.throughput import Throughput


@dataclass
class Run:
    """A run: its job, learner, data, position and curves."""

    job: Job
    learner: Learner
    data: TrainingData
    position: Position
    curves: Curves | None = None  # of the first process alone, and not in a dry run
    throughput: Throughput | None = None  # on a GPU, where there are curves


def save(run: Run, wait: bool = True) -> None:
    """Write the checkpoint, whole, after everything that it refers to is on disk; without `wait` beside training."""
    save_checkpoint(run.job, run.learner, run.data, run.position, run.curves)
    if wait:
        run.job.finish_writing()
