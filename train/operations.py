"""Counts the floating-point operations of a training step, without computing it."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode  # private, but nothing public has tensors without data
from torch.utils.flop_counter import FlopCounterMode

from train.config import FRAMES, Config
from train.evaluation.evaluate import trim
from train.objectives.dct import clear_cache
from train.objectives.learner import Learner
from train.optimizers.recipe import precision
from train.runtime.throughput import Throughput, device_name, peak_of


def throughput_of(learner: Learner, config: Config, device: torch.device) -> Throughput:
    """What turns the sequences per second of a training on this device into operations per second."""
    return Throughput(operations_of(learner, config), peak_of(device_name(device), precision(config, device)))


def operations_of(learner: Learner, config: Config) -> int:
    """Operations of the forward and backward pass of one sequence, with the loss, without a discriminator.

    They are counted once, on tensors without data. What activation checkpointing repeats is not counted.
    """
    network, device = learner.network, next(learner.network.parameters()).device
    repeated, network.checkpoint_blocks = network.checkpoint_blocks, False
    with FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False) as counter:
        frames = torch.empty(FRAMES, 3, config.tile, config.tile, device=device)
        holes = torch.empty(FRAMES, 1, config.tile, config.tile, device=device, dtype=torch.bool)
        output = network(*network.preprocess(frames, holes))
        terms = learner.criterion(output, trim(frames), trim(holes), torch.Generator().manual_seed(0))
        torch.autograd.grad(torch.stack([*terms.values()]).sum(), [*network.parameters()])
    network.checkpoint_blocks = repeated
    clear_cache()
    return counter.get_total_flops()
