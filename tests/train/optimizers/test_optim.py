import io

import pytest
import torch
from torch import nn

from model.light_video_inpaint import LightVideoInpaint
from train.optimizers.optim import averaged, clip_gradients, create_optimizer, is_schedule_free, parameter_groups
from train.optimizers.schedule import apply, schedule

SCHEDULE_FREE = ["adamw_schedulefree", "radam_schedulefree", "sgd_schedulefree"]
NAMES = ["adamw", "adam", "sgd", "lion", "muon", *SCHEDULE_FREE]


def small_network():
    network = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 3))
    gen = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=gen))
    return network


def create(name, network=None, **options):  # -> network, optimizer
    network = network or small_network()
    return network, create_optimizer(name, network, 1e-2, 1e-2, **options)


def fill_gradients(network, step):
    gen = torch.Generator().manual_seed(step)
    network.zero_grad()
    x, y = torch.randn(8, 4, generator=gen), torch.randn(8, 3, generator=gen)
    (network(x) - y).square().mean().backward()


def train(network, optimizer, steps):
    for step in steps:
        if not is_schedule_free(optimizer):
            apply(optimizer, schedule("cosine_wd", step + 1, max_epoch=9, learning_rate=1e-2, weight_decay=1e-2))
        fill_gradients(network, step)
        optimizer.step()


def weights(network):
    return [weight.detach().clone() for weight in network.parameters()]


def same(ours, theirs):
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def near(ours, theirs):
    return all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs, strict=True))


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_the_inpainting_network_has_39_decaying_tensors_and_54_spared_ones_in_sorted_order():
    network = LightVideoInpaint()
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = [[names[id(p)] for p in group["params"]] for group in parameter_groups(network, 0.1)]
    assert [len(group) for group in groups] == [39, 54]
    assert groups[0] == sorted(groups[0]) and groups[1] == sorted(groups[1])
    layers = {name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)}
    assert {name.removesuffix(".weight") for name in groups[0]} == layers
    assert "mask_bias" in groups[1]


@pytest.mark.parametrize("name", ["adamw", "adamw_schedulefree"])
def test_without_gradients_only_weights_of_layers_decay(name):
    network, optimizer = create(name)
    before = weights(network)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    changed = {
        name: not torch.equal(parameter, old)
        for (name, parameter), old in zip(network.named_parameters(), before, strict=True)
    }
    assert {name for name, is_changed in changed.items() if is_changed} == {"0.weight", "3.weight"}


@pytest.mark.parametrize("name", ["adam", "sgd", "lion", "radam_schedulefree", "sgd_schedulefree"])
def test_other_optimizers_have_one_group_in_the_order_of_the_network(name):
    network, optimizer = create(name)
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in network.parameters()]


def test_adamw_steps_as_torchs_adamw_does_on_groups_named_by_hand():
    ours, optimizer = create("adamw", betas=(0.8, 0.99), eps=1e-6)
    theirs = small_network()
    named = dict(theirs.named_parameters())
    spared = [named[name] for name in ("0.bias", "1.weight", "1.bias", "3.bias")]
    reference = torch.optim.AdamW(
        [{"params": [named["0.weight"], named["3.weight"]]}, {"params": spared, "weight_decay": 0}],
        lr=1e-2,
        betas=(0.8, 0.99),
        eps=1e-6,
        weight_decay=1e-2,
    )
    for step in range(5):
        for network, stepper in ((ours, optimizer), (theirs, reference)):
            fill_gradients(network, step)
            stepper.step()
    assert same(weights(ours), weights(theirs))


def test_lion_steps_by_the_formula_of_its_paper():
    network, optimizer = create("lion")
    expected = [weight.double() for weight in weights(network)]
    momenta = [torch.zeros_like(weight) for weight in expected]
    for step in range(10):
        fill_gradients(network, step)
        gradients = [parameter.grad.double() for parameter in network.parameters()]
        optimizer.step()
        for weight, momentum, gradient in zip(expected, momenta, gradients, strict=True):
            weight -= 1e-2 * (torch.sign(0.9 * momentum + 0.1 * gradient) + 1e-2 * weight)
            momentum.copy_(0.99 * momentum + 0.01 * gradient)
    assert near(weights(network), [weight.float() for weight in expected])


def test_averaged_weights_are_those_of_the_schedule_free_formula():
    """z <- z - lr g(y), x <- mean of all z, y <- .1 z + .9 x (Defazio et al. 2024, without weight decay)."""
    network = small_network()
    optimizer = create_optimizer("sgd_schedulefree", network, 1e-2, 0.0)
    x = z = [weight.double() for weight in weights(network)]
    for step in range(10):
        fill_gradients(network, step)
        z = [a - 1e-2 * p.grad.double() for a, p in zip(z, network.parameters(), strict=True)]
        x = [a + (b - a) / (step + 1) for a, b in zip(x, z, strict=True)]
        optimizer.step()
    y = [0.1 * a + 0.9 * b for a, b in zip(z, x, strict=True)]
    assert near(weights(network), [weight.float() for weight in y])
    with averaged(optimizer, network):
        assert near(weights(network), [weight.float() for weight in x])


@pytest.mark.parametrize("name", ["adamw_schedulefree", "sgd_schedulefree"])
def test_schedule_free_warm_up_rises_linearly_over_its_steps(name):
    network, optimizer = create(name, warmup_steps=4)
    rates = []
    for step in range(6):
        train(network, optimizer, [step])
        rates.append(optimizer.param_groups[0]["scheduled_lr"])
    assert rates == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01])


def test_an_unknown_optimizer_is_refused_with_the_known_names():
    with pytest.raises(ValueError, match=r"'adagrad' is unknown, expected adamw, .* or muon"):
        create("adagrad")


@pytest.mark.parametrize("name", SCHEDULE_FREE)
def test_using_the_averages_changes_no_bit_of_the_training(name):
    quiet, looked_at = create(name), create(name)
    for step in range(60):  # the way back through the optimizer would round a weight within these
        train(*quiet, [step])
        train(*looked_at, [step])
        raw = weights(looked_at[0])
        with averaged(looked_at[1], looked_at[0]):
            shown = weights(looked_at[0])
        assert step < 6 or not same(shown, raw)  # radam begins with steps of size 0
    assert same(weights(quiet[0]), weights(looked_at[0]))


@pytest.mark.parametrize("name", SCHEDULE_FREE)
def test_after_an_error_in_the_averaged_block_training_goes_on(name):
    network, optimizer = create(name)
    train(network, optimizer, range(8))
    raw = weights(network)
    with pytest.raises(KeyError), averaged(optimizer, network):
        raise KeyError
    assert same(weights(network), raw)
    train(network, optimizer, [8])
    assert not same(weights(network), raw)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "lion", "muon"])
def test_the_averaged_block_changes_nothing_for_other_optimizers(name):
    network, optimizer = create(name)
    train(network, optimizer, range(3))
    raw = weights(network)
    with averaged(optimizer, network):
        assert same(weights(network), raw)
    assert not is_schedule_free(optimizer)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stop", [0, 1, 7])
def test_a_saved_and_loaded_run_equals_an_uninterrupted_one_bit_for_bit(name, stop):
    options = {"warmup_steps": 3}
    straight = create(name, **options)
    train(*straight, range(12))

    network, optimizer = create(name, **options)
    train(network, optimizer, range(stop))
    with averaged(optimizer, network):  # as an evaluation before the checkpoint does
        pass
    saved = through_a_file({"network": network.state_dict(), "optimizer": optimizer.state_dict()})
    network, optimizer = create(name, **options)
    network.load_state_dict(saved["network"])
    optimizer.load_state_dict(saved["optimizer"])
    train(network, optimizer, range(stop, 12))

    assert same(weights(network), weights(straight[0]))
    with averaged(optimizer, network), averaged(*reversed(straight)):
        assert same(weights(network), weights(straight[0]))


@pytest.mark.parametrize("name", NAMES)
def test_the_state_of_an_optimizer_survives_a_file_with_every_scalar_of_its_groups(name):
    network, optimizer = create(name)
    train(network, optimizer, range(7))
    loaded = create(name)[1]
    loaded.load_state_dict(through_a_file(optimizer.state_dict()))
    assert loaded.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]
    assert not is_schedule_free(loaded) or loaded.param_groups[0]["k"] == 7


def gradients(optimizer):  # -> one vector a group
    return [torch.cat([p.grad.flatten() for p in group["params"]]) for group in optimizer.param_groups]


def test_each_group_is_clipped_by_itself_and_keeps_its_direction():
    network, optimizer = create("adamw")
    fill_gradients(network, 0)
    before = [gradient.clone() for gradient in gradients(optimizer)]
    limit = 0.9 * min(gradient.norm() for gradient in before).item()
    total = clip_gradients(optimizer, limit)
    for old, new in zip(before, gradients(optimizer), strict=True):
        assert torch.allclose(new, old / old.norm() * limit, rtol=1e-4)
    assert torch.allclose(total, torch.cat(before).norm())


@pytest.mark.parametrize("max_norm", [-1.0, 0.0, 1e9])
def test_gradients_within_the_limit_or_without_one_are_unchanged_and_their_norm_is_returned(max_norm):
    network, optimizer = create("adamw")
    fill_gradients(network, 0)
    before = [gradient.clone() for gradient in gradients(optimizer)]
    total = clip_gradients(optimizer, max_norm)
    assert same(gradients(optimizer), before)
    assert torch.allclose(total, torch.cat(before).norm())


def test_a_gradient_that_is_not_finite_shows_in_the_norm_and_spoils_no_other_when_nothing_is_clipped():
    network, optimizer = create("adamw")
    fill_gradients(network, 0)
    network[0].bias.grad[0] = torch.inf
    before = [gradient.clone() for gradient in gradients(optimizer)]
    assert not clip_gradients(optimizer, -1).isfinite()
    assert same(gradients(optimizer), before)


def test_parameters_without_gradients_do_not_count_in_the_norm():
    network, optimizer = create("adamw")
    assert clip_gradients(optimizer, 1.0) == 0
    fill_gradients(network, 0)
    for parameter in optimizer.param_groups[1]["params"]:
        parameter.grad = None
    expected = torch.cat([p.grad.flatten() for p in optimizer.param_groups[0]["params"]]).norm()
    assert torch.allclose(clip_gradients(optimizer, -1), expected)
