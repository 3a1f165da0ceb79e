"""An exponential moving average of a network's weights, and the way to look at other weights and come back."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn


@contextlib.contextmanager
def restored(network: nn.Module) -> Iterator[None]:
    """Inside the block the weights may be anything; after it they are what they were, bit for bit."""
    kept = [weight.detach().clone() for weight in network.parameters()]
    try:
        yield
    finally:
        _copy(kept, network.parameters())


class EMA:
    """The average e <- decay e + (1 - decay) w of a network's weights, taken at every `every`-th optimizer step.

    The first average is a copy of the weights.
    """

    def __init__(self, network: nn.Module, decay: float = 0.999, every: int = 1):
        self.network, self.decay, self.every = network, decay, every
        self.steps = 0  # optimizer steps seen
        self.weights: dict[str, torch.Tensor] = {}  # empty before the first average

    @torch.no_grad()
    def update(self) -> None:
        """Count an optimizer step, and take its weights into the average when it is their turn."""
        self.steps += 1
        if self.steps % self.every:
            return
        if self.weights:
            torch._foreach_lerp_(list(self.weights.values()), list(self.network.parameters()), 1 - self.decay)
        else:
            self.weights = {name: weight.detach().clone() for name, weight in self.network.named_parameters()}

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside the block the network holds the average; before the first one, its own weights."""
        with restored(self.network):
            if self.weights:
                _copy(self.weights.values(), self.network.parameters())
            yield

    def state_dict(self) -> dict[str, Any]:
        """The average and its step count; its tensors are the live ones, as in torch's own state dicts."""
        return {"steps": self.steps, "weights": dict(self.weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what state_dict gave, copied to the device of the network."""
        self.steps, saved = state["steps"], state["weights"]
        self.weights = {
            name: saved[name].to(weight.device, copy=True) for name, weight in self.network.named_parameters() if saved
        }


@torch.no_grad()
def _copy(sources, targets):
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source)
