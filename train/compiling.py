"""--compile: torch.compile for the forward passes of training."""

from collections.abc import Callable

import torch
from torch._dynamo.exc import TorchDynamoException  # private, but torch.compiler exports no exception

from model.light_video_inpaint import FRAMES, LightVideoInpaint
from train.objectives.loss import Loss
from train.optimizers.recipe import autocast
from train.runtime.job import Job

BACKEND = "inductor"


def compile_forward(network: LightVideoInpaint, criterion: Loss, job: Job) -> Callable[..., torch.Tensor]:
    """The compiled network, with the features of LPIPS compiled too; the network itself where that is impossible.

    Network and loss keep their weights and state keys. All processes decide alike, and the first logs the reason.
    """
    forward = torch.compile(network, backend=BACKEND)
    reasons = job.group.gather_objects(failure(forward, network, job))
    if any(reasons):
        job.group.log(f"--compile has no effect: {next(filter(None, reasons))}")
        return network
    if criterion.perceptual is not None:
        criterion.perceptual.features = torch.compile(criterion.perceptual.features, backend=BACKEND)
    return forward


def failure(forward: Callable[..., torch.Tensor], network: LightVideoInpaint, job: Job) -> str:
    """The reason why a step cannot be compiled, in one line; empty if it can."""
    config, device = job.config, job.group.device
    if config.discriminator != "none":
        return "--discriminator needs the gradient at the output, which a compiled step does not give"
    frames = torch.zeros(job.passes.batch_size * FRAMES, 3, config.tile, config.tile, device=device)
    try:
        with autocast(config, device):
            output = forward(*network.preprocess(frames, frames[:, :1] > 0))
        torch.autograd.grad(output.float().sum(), network.to_image.weight)  # compiles the backward pass, too
    except TorchDynamoException as error:
        return " ".join(str(error).split("\n\n")[0].split())
    return ""
