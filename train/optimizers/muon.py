"""Muon for the matrices of a network, AdamW for everything else, in one optimizer with one learning rate."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

# The quintic polynomial a x + b x^3 + c x^5 whose iteration moves singular values quickly to 0.7 to 1.2
COEFFICIENTS = 3.4445, -4.7750, 2.0315
ITERATIONS = 5
ADAM_RMS = 0.2  # typical root mean square of AdamW's update in units of the learning rate


class MuonAdamW(torch.optim.Optimizer):
    """Steps matrices along the orthogonalised momentum of their gradient, and other parameters as AdamW does.

    Muon is that of K. Jordan et al. (2024, kellerjordan.github.io/posts/muon) with Nesterov momentum; its update is
    scaled to the size of AdamW's, as J. Liu et al. do (Muon is Scalable for LLM Training, 2025), so that both share
    learning rate and weight decay. A kernel (O I h w) counts as the matrix (O, I h w). Groups with "muon": True are
    stepped by Muon.
    """

    def __init__(
        self,
        groups: ParamsT,
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        rates = {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": 0.0, "muon": False}
        super().__init__(groups, rates)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure, which GradScaler.step does not support either
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            for weight in weights:
                weight.mul_(1 - group["lr"] * group["weight_decay"])
            (self._muon if group["muon"] else self._adam)(group, weights)

    def _muon(self, group: dict[str, Any], weights: list[nn.Parameter]) -> None:
        by_shape: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = {}
        for weight in weights:
            assert weight.grad is not None
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
            ahead = weight.grad.lerp(state["momentum"], group["momentum"]).flatten(1)
            by_shape.setdefault(ahead.shape, []).append((weight, ahead))
        for shape, found in by_shape.items():
            steps = orthogonalised(torch.stack([ahead for _, ahead in found]))
            size = group["lr"] * ADAM_RMS * max(shape) ** 0.5
            for (weight, _), step in zip(found, steps, strict=True):
                weight.sub_(step.view(weight.shape), alpha=size)

    def _adam(self, group: dict[str, Any], weights: Iterable[nn.Parameter]) -> None:
        beta1, beta2 = group["betas"]
        for weight in weights:
            assert weight.grad is not None
            state = self.state[weight]
            if not state:
                state.update(step=0, mean=torch.zeros_like(weight), square=torch.zeros_like(weight))
            state["step"] += 1
            state["mean"].lerp_(weight.grad, 1 - beta1)
            state["square"].lerp_(weight.grad.square(), 1 - beta2)
            spread = (state["square"] / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
            weight.addcdiv_(state["mean"], spread, value=-group["lr"] / (1 - beta1 ** state["step"]))


def orthogonalised(matrices: Tensor) -> Tensor:
    """The matrices (N R C) with singular values near 1 and the same singular vectors, by Newton-Schulz iteration."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)  # so that no singular value is above 1
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
