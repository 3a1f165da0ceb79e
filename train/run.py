"""A training run: all that its loop works with, and its line in the log."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from model.checkpoint import network_name
from model.light_video_inpaint import LightVideoInpaint
from train.config import Config
from train.dist import Group
from train.ema import EMA
from train.gan import Gan
from train.log import Curves
from train.mining import History
from train.optim import averaged
from train.plan import Plan
from train.samples import Fault, Samples
from train.state import Place
from train.stop import Stop
from train.stream import Stream


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
    bad: dict[str, Fault]  # what is in quarantine, by key
    waited: float = 0.0  # seconds without a sample in this epoch
    evaluating: float = 0.0  # seconds that the last evaluation took
    after_step: Callable[[], object] = lambda: None  # a profiler's

    @property
    def name(self) -> str:
        return network_name(self.network)


def say(run: Run, line: str) -> None:
    """A line in the log, once for all processes."""
    if run.group.leads:
        print(line, flush=True)


@contextlib.contextmanager
def evaluated_weights(run: Run) -> Iterator[None]:
    """Inside the block the network has the weights that are evaluated and exported: averages where there are any."""
    with averaged(run.optimizer, run.network), run.ema.averaged() if run.ema else contextlib.nullcontext():
        yield
