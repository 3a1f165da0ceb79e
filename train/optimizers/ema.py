"""An exponential moving average of a network's weights, and temporary changes of weights."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.utils import get_total_norm
from torch.optim.swa_utils import get_ema_multi_avg_fn


@contextlib.contextmanager
def restored(network: nn.Module) -> Iterator[None]:
    """The weights may be changed inside the block; after it they have their previous values, bit for bit."""
    kept = [weight.detach().clone() for weight in network.parameters()]
    try:
        yield
    finally:
        _copy(kept, network.parameters())


class EMA:
    """The average e <- decay e + (1 - decay) w of a network's weights, updated every `every` optimizer steps.

    The first update copies the weights.
    """

    def __init__(self, network: nn.Module, decay: float = 0.999, every: int = 1):
        self.network, self.decay, self.every = network, decay, every
        self.steps = 0  # optimizer steps counted
        self.weights: dict[str, torch.Tensor] = {}  # empty before the first update

    @torch.no_grad()
    def update(self) -> None:
        """Count an optimizer step, and update the average every `every` steps, unless a weight is not finite."""
        self.steps += 1
        if self.steps % self.every or not get_total_norm(self.network.parameters()).isfinite():
            return
        if self.weights:
            average = get_ema_multi_avg_fn(self.decay)
            average(list(self.weights.values()), list(self.network.parameters()), None)
        else:
            self.weights = {name: weight.detach().clone() for name, weight in self.network.named_parameters()}

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The network holds the average inside the block; before the first update, its own weights."""
        with restored(self.network):
            if self.weights:
                _copy(self.weights.values(), self.network.parameters())
            yield

    def state_dict(self) -> dict[str, Any]:
        """The average and its step count; tensors are not copied, as in PyTorch's own state dicts."""
        return {"steps": self.steps, "weights": dict(self.weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of state_dict, copied to the network's device."""
        self.steps, saved = state["steps"], state["weights"]
        self.weights = {
            name: saved[name].to(weight.device, copy=True) for name, weight in self.network.named_parameters() if saved
        }


@torch.no_grad()
def _copy(sources, targets):
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source)
