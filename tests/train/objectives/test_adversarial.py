import math

import numpy as np
import pytest
import torch

from tests.support.golden_formulas import feature
from train.objectives.adversarial import (
    AdaptiveWeight,
    clamp_leaky,
    discriminator_loss,
    generator_loss,
    gradient_norms,
    shared_noise,
    warm_up,
)

GOLDEN = np.load("tests/golden/losses.npz")
REAL, FAKE = feature(12, 1, 8, 8, a=0.9, amp=2), feature(12, 1, 8, 8, a=0.7, amp=2)
M = feature(12, 1, 8, 8, a=0.41) > 0.2


def test_losses_are_those_of_iw3():
    assert generator_loss(REAL).item() == pytest.approx(GOLDEN["gan_gen"], rel=1e-5)
    assert discriminator_loss(REAL, FAKE, M).item() == pytest.approx(GOLDEN["gan_disc_mask"], rel=1e-6)


def test_cells_outside_the_mask_do_not_count():
    spoiled = discriminator_loss(REAL.masked_fill(~M, -100), FAKE.masked_fill(~M, 100), M)
    assert spoiled.item() == discriminator_loss(REAL, FAKE, M).item()
    assert discriminator_loss(REAL, FAKE, torch.zeros_like(M)).item() == 0
    everywhere = discriminator_loss(REAL, FAKE, torch.ones_like(M))
    assert everywhere.item() == pytest.approx(discriminator_loss(REAL, FAKE).item(), rel=1e-5)


def test_a_confident_discriminator_has_a_loss_of_0():
    sure = torch.full((2, 1, 3, 3), 1.5)
    assert discriminator_loss(sure, -sure).item() == 0
    assert discriminator_loss(-sure, sure).item() == 2.5


def test_a_clamped_value_passes_a_tenth_of_its_gradient():
    z = torch.tensor([-0.5, 0.1, 0.3, 0.9, 2.0], requires_grad=True)
    clamped = clamp_leaky(z)
    torch.testing.assert_close(clamped.detach(), z.detach().clamp(0, 1))
    clamped.sum().backward()
    torch.testing.assert_close(z.grad, torch.tensor([0.1, 1.0, 1.0, 1.0, 0.1]))


def test_output_and_target_get_one_small_noise_from_the_generator():
    output, target = torch.full((12, 3, 16, 16), 0.4), torch.full((12, 3, 16, 16), 0.6)
    target[0, 0, 0] = 1
    noisy, truth = shared_noise(output, target, torch.Generator().manual_seed(0))
    noise = noisy - output
    assert 0.4 / 255 < noise.abs().max() <= 0.5 / 255 + 1e-7
    assert noise.std().item() == pytest.approx(0.47 * 0.5 / 255, rel=0.05)  # N(0, .5) within [-1, 1]
    torch.testing.assert_close(truth, (target + noise).clamp(0, 1))
    assert truth.max() == 1
    torch.seed()
    assert torch.equal(noisy, shared_noise(output, target, torch.Generator().manual_seed(0))[0])


def test_norms_are_those_of_the_gradients_at_the_last_weight():
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    norms = gradient_norms((3 * weight[0, 0] + 4 * weight[1, 1]), (weight.square().sum() / 2), weight)
    torch.testing.assert_close(norms, torch.tensor([5.0, 30.0**0.5]))
    assert weight.grad is None


def test_weight_starts_at_the_first_ratio_and_follows_slowly():
    weight = AdaptiveWeight()
    assert weight.update(torch.tensor([2.0, 4.0])) == 0.5
    assert weight.update(torch.tensor([3.0, 2.0])) == pytest.approx(0.99 * 0.5 + 0.01 * 1.5)


@pytest.mark.parametrize(("norms", "wanted"), [((1.0, 0.0), 10.0), ((1e9, 1.0), 10.0), ((0.0, 1.0), 1e-3)])
def test_ratio_stays_in_its_range(norms, wanted):
    assert AdaptiveWeight().update(torch.tensor(norms)) == wanted


@pytest.mark.parametrize("norms", [(math.nan, 1.0), (1.0, math.nan), (0.0, 0.0)])
def test_without_a_ratio_there_is_no_weight_and_the_mean_is_unchanged(norms):
    weight = AdaptiveWeight(0.7)
    assert weight.update(torch.tensor(norms)) is None
    assert weight.value == 0.7


def test_weight_goes_on_from_its_state():
    weight = AdaptiveWeight(0.7)
    again = AdaptiveWeight()
    again.load_state_dict(weight.state_dict())
    assert again.update(torch.tensor([1.0, 1.0])) == weight.update(torch.tensor([1.0, 1.0]))


def test_the_warm_up_factor_is_0_and_then_rises_to_1():
    shares = [warm_up(t) for t in range(600)]
    assert shares[0] == 0 and shares[500:] == [1.0] * 100
    silent = sum(share == 0 for share in shares)
    assert silent == math.ceil(500 / 4 * math.log(1 + 0.1 * math.expm1(4)))
    assert shares[silent] >= 0.1 and sorted(shares) == shares
    assert shares[250] == pytest.approx((math.e**2 - 1) / (math.e**4 - 1))
