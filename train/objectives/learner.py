"""The trained network of a run and everything that changes its weights."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from model.checkpoint import network_name
from model.light_video_inpaint import LightVideoInpaint
from train.objectives.gan import Gan
from train.objectives.loss import Loss
from train.optimizers.ema import EMA
from train.optimizers.optim import averaged


@dataclass
class Learner:
    """The network with its loss and optimizer, the average of its weights, and the discriminator, if any."""

    network: LightVideoInpaint
    forward: torch.nn.Module  # the network in training: possibly compiled, with others in a job of several processes
    criterion: Loss
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: EMA | None
    gan: Gan | None

    @property
    def name(self) -> str:
        return network_name(self.network)

    @contextlib.contextmanager
    def evaluated_weights(self) -> Iterator[None]:
        """Inside the block the network has the weights to evaluate and export: averages where there are any."""
        with (
            averaged(self.optimizer, self.network),
            self.ema.averaged() if self.ema else contextlib.nullcontext(),
        ):
            yield
