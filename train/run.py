"""A training run: all that its loop works with, and its line in the log."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from model.checkpoint import network_name
from model.light_video_inpaint import LightVideoInpaint
from train.checkpoints.state import Place
from train.config import Config
from train.data.mining import History
from train.data.plan import Plan
from train.data.samples import BadRecord, Samples
from train.data.stream import Stream
from train.objectives.gan import Gan
from train.optimizers.ema import EMA
from train.optimizers.optim import averaged
from train.runtime.dist import Group
from train.runtime.log import Curves
from train.runtime.signals import Stop


@dataclass
class Run:
    """Everything that the loop works with."""

    config: Config
    group: Group
    stop: Stop
    folder: Path
    network: LightVideoInpaint
    forward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # the network, perhaps compiled
    criterion: torch.nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: EMA | None
    gan: Gan | None
    history: History | None
    plan: Plan
    stream: Stream
    eval_samples: Samples | None
    eval_workers: int
    data: dict  # describe_data
    place: Place
    curves: Curves | None
    bad: dict[str, BadRecord]  # what is in quarantine, by key
    waited: float = 0.0  # seconds without a sample in this epoch
    evaluating: float = 0.0  # seconds that the last evaluation took
    after_step: Callable[[], object] = lambda: None  # a profiler's

    @property
    def name(self) -> str:
        return network_name(self.network)


def say(run: Run, line: str) -> None:
    """A line in the log, once for all processes."""
    if run.group.is_main:
        print(line, flush=True)


@contextlib.contextmanager
def evaluated_weights(run: Run) -> Iterator[None]:
    """Inside the block the network has the weights that are evaluated and exported: averages where there are any."""
    with averaged(run.optimizer, run.network), run.ema.averaged() if run.ema else contextlib.nullcontext():
        yield
