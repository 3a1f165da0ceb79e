"""Adversarial losses as pure functions of scores, and their adaptive weight, the only state between steps."""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F

# T frames, h x w cells; scores are (T 1 h w), high where frames look real; m is a bool mask of that shape, or None

NOISE = 0.5 / 255
LEAK = 0.1  # fraction of the gradient that passes where a value is clamped
RATIO_RANGE = 1e-3, 10.0
DECAY = 0.99
WARM_UP_ITERATIONS = 500
WARM_UP_START = 0.1


def shared_noise(output, target, gen):  # (T 3 H W) x2 -> same
    """Output and target plus the same noise of half a grey level, so that quantisation does not distinguish them.

    n = clamp(N(0, .5), -1, 1) * .5 / 255; the output is z + n, the target clamp(y + n, 0, 1).
    """
    noise = torch.randn(output.shape, generator=gen, device=gen.device).to(output.device)
    noise = (0.5 * noise).clamp(-1, 1) * NOISE
    return output + noise, (target + noise).clamp(0, 1)


def clamp_leaky(z):
    """z clamped to [0, 1], with LEAK times the gradient where it is clamped."""
    clamped = z.clamp(0, 1)
    leaky = clamped + LEAK * (z - clamped)
    return leaky + (clamped - leaky).detach()


def generator_loss(score):  # -> ()
    """The generator loss -mean D(z)."""
    return -score.mean()


def discriminator_loss(real, fake, m=None):  # -> ()
    """The hinge loss .5 (relu(1 - D(y)) + relu(1 + D(z))), averaged over all cells or those of m."""
    return 0.5 * (_mean(F.relu(1 - real), m) + _mean(F.relu(1 + fake), m))


def gradient_norms(reconstruction, generator, last_weight):  # () x2, parameter -> (2)
    """Norms of the two losses' gradients at the network's last weight; the caller averages them over sequences."""
    grads = (torch.autograd.grad(loss, last_weight, retain_graph=True)[0] for loss in (reconstruction, generator))
    return torch.stack([grad.float().norm() for grad in grads])


@dataclass
class AdaptiveWeight:
    """The weight that matches the norm of the adversarial gradient to that of the reconstruction loss.

    As in VQGAN (Esser et al. 2021, arXiv:2012.09841), with a running mean: w = .99 w + .01 clamp(|g_rec| / |g_gen|).
    """

    value: float | None = None

    def update(self, norms):  # (2) -> float or None
        """The new weight, or None when a norm is NaN; the old weight stays then."""
        reconstruction, generator = norms.double().unbind()
        ratio = (reconstruction / generator).item()
        if math.isnan(ratio):
            return None
        ratio = min(max(ratio, RATIO_RANGE[0]), RATIO_RANGE[1])
        self.value = ratio if self.value is None else DECAY * self.value + (1 - DECAY) * ratio
        return self.value

    def state_dict(self):
        return asdict(self)

    def load_state_dict(self, state):
        self.value = state["value"]


def warm_up(iteration, iterations=WARM_UP_ITERATIONS):
    """Warm-up factor at step t of n: (e^(4 t/n) - 1) / (e^4 - 1), but 0 while below .1; 1 from n on."""
    if iteration >= iterations:
        return 1.0
    share = math.expm1(4 * iteration / iterations) / math.expm1(4)
    return share if share >= WARM_UP_START else 0.0


def _mean(values, m):
    return values.mean() if m is None else (values * m).sum() / (m.sum() + 1e-4)
