import io

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from train.optimizers.ema import EMA, restored


def draw(network, seed):
    """New weights, as a training step would leave them."""
    gen = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=gen))


def weights(network):
    return [weight.detach().clone() for weight in network.parameters()]


def same(ours, theirs):
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def averaged_weights(ema):
    with ema.averaged():
        return weights(ema.network)


def test_the_average_is_the_formula_and_begins_with_a_copy():
    network = nn.Linear(3, 2)
    ema = EMA(network, decay=0.9)
    expected = None
    for seed in range(20):
        draw(network, seed)
        ema.update()
        weight = network.weight.detach().double()
        expected = weight if expected is None else 0.9 * expected + 0.1 * weight
        assert torch.allclose(averaged_weights(ema)[0].double(), expected, atol=1e-6)


def test_average_of_every_third_step_is_torchs_average_of_these_steps():
    network = nn.Linear(3, 2)
    ema = EMA(network, every=3)
    torchs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    for step in range(1, 11):
        draw(network, step)
        ema.update()
        if step % 3 == 0:
            torchs.update_parameters(network)
    assert same(averaged_weights(ema), torchs.module.parameters())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_averaged(bad):
    network = nn.Linear(3, 2)
    ema = EMA(network, decay=0.5)
    ema.update()
    before = averaged_weights(ema)
    for seed in (1, 2):
        draw(network, seed)
        with torch.no_grad():
            network.weight[0, 0] = bad
        ema.update()
    assert same(averaged_weights(ema), before)
    draw(network, 3)
    ema.update()
    for average, first, last in zip(averaged_weights(ema), before, weights(network), strict=True):
        assert torch.allclose(average, (first + last) / 2, atol=1e-6)


def test_the_network_has_its_own_weights_after_the_block_even_after_an_error():
    network = nn.Linear(3, 2)
    ema = EMA(network)
    ema.update()
    draw(network, 1)
    raw = weights(network)
    with pytest.raises(KeyError), ema.averaged():
        assert not same(weights(network), raw)
        raise KeyError
    assert same(weights(network), raw)


def test_before_the_first_average_the_network_keeps_its_own_weights():
    network = nn.Linear(3, 2)
    ema = EMA(network, every=2)
    ema.update()
    assert same(averaged_weights(ema), weights(network))


def test_weights_changed_in_a_restored_block_are_restored_bit_for_bit_in_the_same_memory():
    network = nn.Linear(3, 2)
    raw, places = weights(network), [weight.data_ptr() for weight in network.parameters()]
    with restored(network):
        draw(network, 1)
    assert same(weights(network), raw)
    assert [weight.data_ptr() for weight in network.parameters()] == places


@pytest.mark.parametrize("stop", [1, 2, 5])
def test_a_saved_and_loaded_average_continues_bit_for_bit(stop):
    straight, broken = EMA(nn.Linear(3, 2), every=2), EMA(nn.Linear(3, 2), every=2)
    for seed in range(9):
        if seed == stop:
            file = io.BytesIO()
            torch.save(broken.state_dict(), file)
            file.seek(0)
            broken = EMA(nn.Linear(3, 2), every=2)
            broken.load_state_dict(torch.load(file, weights_only=True))
        for ema in (straight, broken):
            draw(ema.network, seed)
            ema.update()
    assert same(averaged_weights(straight), averaged_weights(broken))


def test_a_state_counts_every_step_also_those_between_updates():
    ema = EMA(nn.Linear(3, 2), every=3)
    for _ in range(4):
        ema.update()
    assert ema.state_dict()["steps"] == 4


def test_a_loaded_average_shares_no_memory_with_its_state_dict():
    ema = EMA(nn.Linear(3, 2))
    ema.update()
    state = ema.state_dict()
    before = state["weights"]["weight"].clone()
    other = EMA(nn.Linear(3, 2))
    other.load_state_dict(state)
    draw(other.network, 1)
    other.update()
    assert torch.equal(state["weights"]["weight"], before)
