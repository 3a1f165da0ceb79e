"""The data of a run: plan, sample stream, mining history and description."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from train.config import Config
from train.data.mining import History
from train.data.plan import Plan
from train.data.quarantine import Quarantine
from train.data.records import Records
from train.data.samples import Reader, Samples, Stage
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


def training_samples(
    config: Config, records: Records, seed: int, read: Reader | None, own: Sequence[Stage] = ()
) -> Samples:
    """The augmented samples that the configuration asks for; `own` are stages of the user."""
    return Samples(
        records,
        config.frames,
        config.tile,
        seed,
        read,
        keep=config.tiles_per_record > 1,
        strong=config.augment == "strong",
        holes_as_used=config.holes_as_used,
        own=own,
    )


def training_plan(config: Config, records: Records, slots: int, seed: int) -> Plan:
    """The plan of epochs of `slots` samples that the configuration asks for."""
    return Plan(records.sizes, slots, seed, config.shuffle_shards, records.shares, config.tiles_per_record)
