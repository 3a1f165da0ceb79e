"""Optimizers with iw3's names and parameter groups, averaged weights of schedule-free ones, gradient clipping."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from schedulefree import AdamWScheduleFree, RAdamScheduleFree, SGDScheduleFree
from torch import nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from train.optimizers.ema import restored
from train.optimizers.muon import MuonAdamW

AT_PIXELS = "patch.weight", "to_image.weight"
SCHEDULE_FREE = (AdamWScheduleFree, RAdamScheduleFree, SGDScheduleFree)


def create_optimizer(
    name: str,
    network: nn.Module,
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    momentum: float = 0.9,
    warmup_steps: int = 0,
) -> torch.optim.Optimizer:
    """The optimizer of this name, ready to train: a schedule-free one is in train mode.

    As in iw3, only adamw and adamw_schedulefree exempt biases and norm scales from weight decay, adam has no weight
    decay, and lion uses the betas of its paper. muon, which iw3 lacks, exempts them, too. `warmup_steps` is for
    adamw_schedulefree and sgd_schedulefree.
    """
    adam: dict[str, Any] = {"lr": learning_rate, "betas": betas, "eps": eps}
    sgd: dict[str, Any] = {"lr": learning_rate, "momentum": momentum, "weight_decay": weight_decay}
    match name:
        case "adamw":
            return torch.optim.AdamW(parameter_groups(network, weight_decay), **adam)
        case "adam":
            return torch.optim.Adam(network.parameters(), **adam)
        case "sgd":
            return torch.optim.SGD(network.parameters(), **sgd)
        case "muon":
            return MuonAdamW(muon_groups(network, weight_decay), **adam)
        case "lion":
            return Lion(network.parameters(), learning_rate, weight_decay=weight_decay)
        case "adamw_schedulefree":
            groups = parameter_groups(network, weight_decay)
            optimizer = AdamWScheduleFree(groups, **adam, warmup_steps=warmup_steps)
        case "radam_schedulefree":
            optimizer = RAdamScheduleFree(network.parameters(), **adam, weight_decay=weight_decay)
        case "sgd_schedulefree":
            optimizer = SGDScheduleFree(network.parameters(), **sgd, warmup_steps=warmup_steps)
        case _:
            known = "adamw, adamw_schedulefree, radam_schedulefree, sgd_schedulefree, adam, sgd, lion or muon"
            raise ValueError(f"optimizer {name!r} is unknown, expected {known}")
    optimizer.train()
    return optimizer


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups, sorted by name: matrices and kernels with weight decay, biases and norm scales without."""
    decay, no_decay = [], []
    for name, parameter in sorted(network.named_parameters()):
        is_weight = parameter.ndim >= 2 and not name.endswith("bias")  # mask_bias is (1 C 1 1)
        (decay if is_weight else no_decay).append(parameter)
    return [{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, "weight_decay": 0.0}]


def muon_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The groups of `parameter_groups`; of the first one Muon steps all but the layers that read or write pixels.

    Muon is meant for layers between features; AdamW is better for the first and the last one of a network.
    """
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    decay, no_decay = parameter_groups(network, weight_decay)
    at_pixels = [weight for weight in decay["params"] if names[id(weight)] in AT_PIXELS]
    between = [weight for weight in decay["params"] if names[id(weight)] not in AT_PIXELS]
    return [decay | {"params": between, "muon": True}, no_decay, decay | {"params": at_pixels}]


def is_schedule_free(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer averages the weights itself and needs no learning rate schedule."""
    return "train_mode" in optimizer.param_groups[0]


@contextlib.contextmanager
def averaged(optimizer: torch.optim.Optimizer, network: nn.Module) -> Iterator[None]:
    """The network of a schedule-free optimizer holds the averaged weights x inside the block.

    Afterwards the training weights y are restored bit for bit; the optimizer's own train() would compute them from x,
    with rounding. With other optimizers the block has no effect.
    """
    if not is_schedule_free(optimizer):
        yield
        return
    assert isinstance(optimizer, SCHEDULE_FREE)
    modes = [group["train_mode"] for group in optimizer.param_groups]
    with restored(network):
        optimizer.eval()
        try:
            yield
        finally:
            for group, mode in zip(optimizer.param_groups, modes, strict=True):
                group["train_mode"] = mode


def clip_gradients(optimizer: torch.optim.Optimizer, max_norm: float) -> torch.Tensor:  # -> ()
    """Clip the gradients of each parameter group to max_norm, if it is above 0; returns the norm of all before that.

    Gradients of a scaled loss must be unscaled first. A norm that is not finite turns clipped gradients into NaN.
    """
    norms = []
    for group in optimizer.param_groups:
        parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
        if not parameters:
            continue
        norms.append(get_total_norm([parameter.grad for parameter in parameters]))
        if max_norm > 0:
            clip_grads_with_norm_(parameters, max_norm, norms[-1])
    return get_total_norm(norms)


class StepOutcome(NamedTuple):
    """What an optimizer step did."""

    norm: torch.Tensor  # () of all gradients, before clipping
    stepped: bool
    healthy: bool  # False when loss or gradient is not finite, unless fp16 is still looking for its scale


def scaled_step(
    optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, max_norm: float, loss_is_finite: bool
) -> StepOutcome:
    """Unscale and clip the gradients, step unless loss or gradient is not finite, and update the scale."""
    scaler.unscale_(optimizer)
    norm = clip_gradients(optimizer, max_norm)
    stepped = loss_is_finite and bool(torch.isfinite(norm))
    if stepped:
        scaler.step(optimizer)
    healthy = stepped or (loss_is_finite and scaler.get_scale() > 1)
    scaler.update()
    return StepOutcome(norm, stepped, healthy)


class Lion(torch.optim.Optimizer):
    """Sign of interpolated momentum, with decoupled weight decay (Chen et al. 2023, algorithm 2)."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ):
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure, which GradScaler.step does not support either
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                direction = state["momentum"].lerp(weight.grad, 1 - beta1).sign_()
                weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-group["lr"])
                state["momentum"].lerp_(weight.grad, 1 - beta2)
