"""torch.compile for the forward passes of training, or why it cannot be."""

from collections.abc import Callable

import torch
from torch._dynamo.exc import TorchDynamoException

from model.light_video_inpaint import FRAMES, LightVideoInpaint
from train.config import Config
from train.objectives.loss import Loss
from train.optimizers.recipe import autocast
from train.runtime.dist import Group

Forward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

BACKEND = "inductor"


def compile_forward(network: LightVideoInpaint, criterion: Loss, config: Config, group: Group) -> Forward:
    """The network as a compiled function, and the features of LPIPS compiled; as they are where that is impossible.

    Network and loss keep their own weights and state keys. Processes take the same way, and the first says why.
    """
    forward = torch.compile(network, backend=BACKEND)
    reasons = group.gather_objects(failure(forward, network, config, group.device))
    if any(reasons):
        if group.is_main:
            print(f"--compile changes nothing: {next(filter(None, reasons))}", flush=True)
        return network
    if criterion.perceptual is not None:
        criterion.perceptual.features = torch.compile(criterion.perceptual.features, backend=BACKEND)
    return forward


def failure(forward: Forward, network: LightVideoInpaint, config: Config, device: torch.device) -> str:
    """Why a step cannot be compiled, in one line; empty when it can."""
    if config.discriminator != "none":
        return "--discriminator looks at the gradient half way, which a compiled step does not show"
    frames = torch.zeros(FRAMES, 3, config.tile, config.tile, device=device)
    try:
        with autocast(config, device):
            output = forward(*network.preprocess(frames, frames[:, :1] > 0))
        torch.autograd.grad(output.float().sum(), network.to_image.weight)  # compiles what goes back, too
    except TorchDynamoException as error:
        return " ".join(str(error).split("\n\n")[0].split())
    return ""
