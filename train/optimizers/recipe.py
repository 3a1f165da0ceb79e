"""The optimizer, the learning rate of an epoch and the precision that a configuration asks for."""

import torch

from model.device import has_bf16
from train.config import Config
from train.optimizers.optim import create_optimizer, is_schedule_free
from train.optimizers.schedule import apply, schedule


def create_optimizer_of(config: Config, network: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimizer that the configuration asks for."""
    steps = config.epoch_slots // config.backward_step
    return create_optimizer(
        config.optimizer,
        network,
        config.learning_rate,
        config.weight_decay,
        betas=(config.adam_beta1, config.adam_beta2),
        momentum=config.momentum,
        warmup_steps=config.warmup_epoch * steps,
    )


def create_scaler(config: Config, device: torch.device) -> torch.amp.GradScaler:
    """The gradient scaler, which is enabled in fp16 only."""
    return torch.amp.GradScaler(device.type, enabled=precision(config, device) == "fp16")


def autocast(config: Config, device: torch.device) -> torch.autocast:
    """The autocast context of forward passes."""
    chosen = precision(config, device)
    half = torch.float16 if chosen == "fp16" else torch.bfloat16
    return torch.autocast(device.type, half, enabled=chosen != "fp32")


def precision(config: Config, device: torch.device) -> str:
    """fp16, bf16 or fp32. A CPU uses bf16 if it has instructions for it and fp16 is not asked for, else fp32."""
    if config.disable_amp:
        return "fp32"
    if device.type == "cpu":
        return "bf16" if config.amp_float != "fp16" and has_bf16(device) else "fp32"
    if config.amp_float == "auto":
        return "bf16" if has_bf16(device) else "fp16"
    return config.amp_float


def set_rates(optimizer: torch.optim.Optimizer, config: Config, epoch: int) -> None:
    """Set the learning rate and weight decay of the epoch, except for schedule-free optimizers."""
    if is_schedule_free(optimizer):
        return
    rates = schedule(
        config.scheduler,
        epoch,
        max_epoch=config.max_epoch,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        cycles=config.learning_rate_cycles,
        weight_decay_end=config.weight_decay_end,
        decay_steps=config.learning_rate_decay_step,
        decay=config.learning_rate_decay,
        warmup_epochs=config.warmup_epoch,
        warmup_learning_rate=config.warmup_learning_rate,
    )
    apply(optimizer, rates)
