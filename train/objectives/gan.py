"""Adversarial training: the discriminator's part of the network's gradient, and its own steps."""

import math
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any

import torch

from model.discriminators import create_discriminator, update_spectral_norms
from model.light_video_inpaint import LightVideoInpaint
from train.config import Config
from train.objectives.adversarial import (
    AdaptiveWeight,
    clamp_leaky,
    discriminator_loss,
    generator_loss,
    gradient_norms,
    warm_up,
)
from train.optimizers.optim import scaled_step
from train.optimizers.recipe import autocast, create_optimizer_of, create_scaler
from train.runtime.dist import Group
from train.runtime.seeds import generator, mix

# T frames, H height, W width of the network's output


@dataclass(frozen=True)
class AdversarialResult:
    """The numbers of one sequence; the norms are those of the losses' gradients at the network's last weight."""

    reconstruction_norm: float
    generator_norm: float
    generator_loss: float
    discriminator_loss: float


class Gan:
    """A discriminator with its optimizer and scaler, and the adaptive weight of the adversarial loss.

    The weight in a step follows from the gradients of earlier steps, so that the gradient of a sequence does not depend
    on the others of its step. In the first step it is 0.
    """

    def __init__(self, config: Config, seed: int, device: torch.device):
        rate = config.discriminator_learning_rate or config.learning_rate
        # Muon is not meant for small convolutions that read pixels, of which discriminators are made
        optimizer = "adamw" if config.optimizer == "muon" else config.optimizer
        self.config = replace(config, learning_rate=rate, optimizer=optimizer)
        self.seed, self.device = seed, device
        self.network = create_discriminator(config.discriminator, mix(seed, "discriminator") >> 1).to(device)
        self.optimizer = create_optimizer_of(self.config, self.network)
        self.scaler = create_scaler(config, device)
        self.adaptive = AdaptiveWeight()

    def factor(self, step: int) -> float:
        """The factor of the adversarial loss in this step of the run, counted from 0."""
        share = warm_up(step, self.config.generator_warmup_iteration)
        return self.config.discriminator_weight * share * (self.adaptive.value or 0.0)

    def backward(
        self,
        step: int,
        losses: list[torch.Tensor],
        outputs: list[torch.Tensor],
        targets: list[torch.Tensor],
        masks: list[torch.Tensor],
        network: LightVideoInpaint,
        scaler: torch.amp.GradScaler,
    ) -> list[AdversarialResult]:
        """Add the gradients of each sequence of a pass to those of both networks.

        A loss is the reconstruction loss of a sequence, scaled and divided by the sequences of a step; its output and
        target are (T 3 H W), its mask (T 1 H W). An adversarial loss or gradient that is not finite is left out.
        """
        of_losses = torch.autograd.grad(losses, outputs)  # at once, as LPIPS has one graph for all
        sequences = zip(of_losses, outputs, targets, masks, strict=True)
        found = [self._gradient(step, *sequence, network, scaler) for sequence in sequences]
        gradients, results = zip(*found, strict=True)
        torch.autograd.backward(outputs, gradients)
        return list(results)

    def _gradient(
        self,
        step: int,
        of_loss: torch.Tensor,
        output: torch.Tensor,
        target: torch.Tensor,
        mask: torch.Tensor,
        network: LightVideoInpaint,
        scaler: torch.amp.GradScaler,
    ) -> tuple[torch.Tensor, AdversarialResult]:
        """The gradient of both losses of one sequence at its output; adds to that of the discriminator.

        `of_loss` is the gradient of the reconstruction loss there.
        """
        member = generator(self.seed, step, "member")  # the same member of an ensemble on all processes
        with autocast(self.config, self.device):
            score, _ = self.network(clamp_leaky(output), target, mask, member)
            adversarial = generator_loss(score.float())
        scaled = scaler.scale(adversarial / self.config.backward_step)
        # one backward pass of each loss to the output; the product of both has the same gradient from there on
        gradients = of_loss, torch.autograd.grad(scaled, output)[0]
        products = [(output * gradient).sum() for gradient in gradients]
        norms = gradient_norms(products[0], products[1], network.to_image.weight)
        factor = self.factor(step) if torch.isfinite(norms[1] + adversarial) else 0.0
        gradient = torch.add(*gradients, alpha=factor) if factor else gradients[0]
        discriminator = self._backward_discriminator(output.detach(), target, mask, member)
        of_loss_norm, of_score_norm = norms.tolist()
        result = AdversarialResult(of_loss_norm, of_score_norm, float(adversarial.detach()), float(discriminator))
        return gradient, result

    def _backward_discriminator(
        self, output: torch.Tensor, target: torch.Tensor, mask: torch.Tensor, member: torch.Generator
    ) -> torch.Tensor:
        with autocast(self.config, self.device):
            fake, cells = self.network(output.clamp(0, 1), target, mask, member)
            real, _ = self.network(target, target, mask, member)
            loss = discriminator_loss(real.float(), fake.float(), cells)
        self.scaler.scale(loss / self.config.backward_step).backward()
        return loss.detach()

    def update(self, group: Group, results: list[AdversarialResult]) -> bool:
        """Step the discriminator with the gradients of all processes; whether its loss and gradient were finite.

        `results` are those of all sequences of the step, in the order of their slots.
        """
        group.sum_gradients(self.network.parameters())
        finite = all(math.isfinite(result.discriminator_loss) for result in results)
        outcome = scaled_step(self.optimizer, self.scaler, self.config.clip_grad_norm, finite)
        update_spectral_norms(self.network)
        mean = mean_result(results)
        if all(map(math.isfinite, astuple(mean))):
            norms = torch.tensor([mean.reconstruction_norm, mean.generator_norm], dtype=torch.float64)
            self.adaptive.update(norms)
        return outcome.healthy

    def curves(self, results: list[AdversarialResult], step: int) -> dict[str, float]:
        """The TensorBoard points of a step."""
        values = asdict(mean_result(results)) | {"factor": self.factor(step)}
        return {f"adversarial/{name}": value for name, value in values.items()}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds besides the states of optimizer and scaler."""
        weights = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
        return {"name": self.config.discriminator, "weights": weights, "adaptive": self.adaptive.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.load_weights(state)
        self.adaptive.load_state_dict(state["adaptive"])

    def load_weights(self, state: dict[str, Any]) -> None:
        """Load the weights only, if they are of the same kind of discriminator."""
        if state["name"] == self.config.discriminator:
            self.network.load_state_dict(state["weights"])


def mean_result(results: list[AdversarialResult]) -> AdversarialResult:
    """The means over sequences."""
    rows = torch.tensor([astuple(result) for result in results], dtype=torch.float64)  # (sequences 4)
    return AdversarialResult(*rows.mean(0).tolist())


def create_gan(config: Config, seed: int, device: torch.device, saved: dict[str, Any] | None) -> Gan | None:
    """The discriminator of the configuration, if any, with the weights of a checkpoint that has one of its kind."""
    if config.discriminator == "none":
        return None
    gan = Gan(config, seed, device)
    state = (saved or {}).get("backfill", {}).get("gan")
    if state:
        gan.load_weights(state)
    return gan
