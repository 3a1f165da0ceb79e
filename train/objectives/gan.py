"""The discriminator's side of a training: what it adds to the network's gradient, and how it learns itself."""

from dataclasses import replace
from typing import Any

import torch

from model.discriminators import create_discriminator, update_spectral_norms
from train.config import Config
from train.objectives.adversarial import (
    AdaptiveWeight,
    clamp_leaky,
    discriminator_loss,
    generator_loss,
    gradient_norms,
    warm_up,
)
from train.optimizers.optim import clip_gradients
from train.optimizers.recipe import autocast, create_optimizer_of, create_scaler
from train.runtime.dist import Group
from train.runtime.seeds import generator, mix

# T frames, H height, W width of what the network puts out; columns are numbers of one sequence

COLUMNS = ("reconstruction_norm", "generator_norm", "generator_loss", "discriminator_loss")


class Gan:
    """A discriminator with its optimizer and scaler, and the running weight of its loss.

    The adversarial loss of a step is weighed by the gradients of the steps before it, so that the gradient of a
    sequence does not depend on who computes the others. In the first step it has no weight.
    """

    def __init__(self, config: Config, seed: int, device: torch.device):
        rate = config.discriminator_learning_rate or config.learning_rate
        self.config, self.seed, self.device = replace(config, learning_rate=rate), seed, device
        self.network = create_discriminator(config.discriminator, mix(seed, "discriminator") >> 1).to(device)
        self.optimizer = create_optimizer_of(self.config, self.network)
        self.scaler = create_scaler(config, device)
        self.adaptive = AdaptiveWeight()

    def factor(self, step: int) -> float:
        """What the adversarial loss is multiplied by in this step of the run, counted from 0."""
        share = warm_up(step, self.config.generator_warmup_iteration)
        return self.config.discriminator_weight * share * (self.adaptive.value or 0.0)

    def backward(self, step, loss, output, target, mask, network, scaler):
        """The gradients of one sequence in both networks, and its COLUMNS.

        `loss` is the reconstruction's, scaled and divided by the sequences of a step; output and target are
        (T 3 H W), mask (T 1 H W). The network learns without an adversarial loss or gradient that is not finite.
        """
        member = generator(self.seed, step, "member")  # the same judge on all processes
        with autocast(self.config, self.device):
            score, _ = self.network(clamp_leaky(output), target, mask, member)
            adversarial = generator_loss(score.float())
        scaled = scaler.scale(adversarial / self.config.backward_step)
        # each loss is gone back through once, to the output; a product with it has the same gradient from there on
        gradients = [torch.autograd.grad(value, output)[0] for value in (loss, scaled)]
        norms = gradient_norms(*((output * gradient).sum() for gradient in gradients), network.to_image.weight)
        factor = self.factor(step) if torch.isfinite(norms[1] + adversarial) else 0.0
        output.backward(torch.add(*gradients, alpha=factor) if factor else gradients[0])
        judgement = self._learn(output.detach(), target, mask, member)
        return [*norms.tolist(), float(adversarial.detach()), float(judgement)]

    def _learn(self, output, target, mask, member):
        with autocast(self.config, self.device):
            fake, cells = self.network(output.clamp(0, 1), target, mask, member)
            real, _ = self.network(target, target, mask, member)
            loss = discriminator_loss(real.float(), fake.float(), cells)
        self.scaler.scale(loss / self.config.backward_step).backward()
        return loss.detach()

    def update(self, group: Group, rows: torch.Tensor) -> bool:  # (sequences columns)
        """Step the discriminator unless its loss or gradient is not finite; whether all is well.

        It is, too, when a gradient overflows while fp16 looks for its scale.
        """
        group.all_reduce_gradients(self.network.parameters())
        self.scaler.unscale_(self.optimizer)
        norm = clip_gradients(self.optimizer, self.config.clip_grad_norm)
        finite = bool(torch.isfinite(rows[:, 3]).all())
        stepped = finite and bool(torch.isfinite(norm))
        if stepped:
            self.scaler.step(self.optimizer)
        well = stepped or (finite and self.scaler.get_scale() > 1)
        self.scaler.update()
        update_spectral_norms(self.network)
        means = rows.mean(0)
        if means.isfinite().all():
            self.adaptive.update(means[:2])
        return well

    def curves(self, rows: torch.Tensor, step: int) -> dict[str, float]:  # (sequences columns)
        """What TensorBoard shows of a step."""
        values = dict(zip(COLUMNS, rows.mean(0).tolist(), strict=True)) | {"factor": self.factor(step)}
        return {f"adversarial/{name}": value for name, value in values.items()}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds besides the states of optimizer and scaler."""
        weights = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
        return {"name": self.config.discriminator, "weights": weights, "adaptive": self.adaptive.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.load_weights(state)
        self.adaptive.load_state_dict(state["adaptive"])

    def load_weights(self, state: dict[str, Any]) -> None:
        """Take the weights alone, where they are of such a discriminator."""
        if state["name"] == self.config.discriminator:
            self.network.load_state_dict(state["weights"])


def create_gan(config: Config, seed: int, device: torch.device, saved: dict[str, Any] | None) -> Gan | None:
    """The discriminator that is asked for, with the weights of a checkpoint's where it has one of that kind."""
    if config.discriminator == "none":
        return None
    gan = Gan(config, seed, device)
    state = (saved or {}).get("backfill", {}).get("gan")
    if state:
        gan.load_weights(state)
    return gan
