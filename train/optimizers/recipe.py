"""The optimizer, the learning rate of an epoch and the precision that a configuration asks for."""

import torch

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
    """fp16, bf16 or fp32. A CPU uses fp32, or bf16 if it is chosen and the CPU has instructions for it."""
    if config.disable_amp or (device.type == "cpu" and not (config.amp_float == "bf16" and cpu_has_bf16())):
        return "fp32"
    return config.amp_float


def cpu_has_bf16() -> bool:
    """Whether the CPU has instructions for bf16; without them bf16 is slower than fp32."""
    can = getattr(torch.cpu, "get_capabilities", dict)()  # not in every PyTorch that we run on
    return any(can.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


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
