"""The data of a run: plan, sample stream, mining history and description."""

from dataclasses import dataclass, field
from typing import Any

from train.data.mining import History
from train.data.plan import Plan
from train.data.quarantine import Quarantine
from train.data.samples import Samples
from train.data.stream import Stream


@dataclass(frozen=True)
class TrainingData:
    """The records for training and for evaluation."""

    plan: Plan
    history: History | None  # with --hard-example
    stream: Stream
    eval_samples: Samples | None  # None with --skip-eval
    workers: int  # processes that prepare samples
    quarantine: Quarantine
    description: dict[str, Any]  # for the checkpoint, see train.checkpoints.state.describe_data
    sources: list[dict[str, Any]] = field(default_factory=list)  # see train.checkpoints.lineage.sources_of
