import signal

import pytest
import torch

from model.discriminators import DISCRIMINATORS
from model.light_video_inpaint import LightVideoInpaint
from tests.support.shards import make_data
from tests.support.training import trainings
from tests.support.training.small_discriminators import small_ensemble
from train.config import Config
from train.evaluation.evaluate import trim
from train.objectives.adversarial import AdaptiveWeight, clamp_leaky
from train.objectives.gan import AdversarialResult, Gan, create_gan
from train.runtime.dist import Group
from train.runtime.seeds import generator

CPU = torch.device("cpu")
NAMES = ("l3ce", "ffc", "t_patchgan")
ADVERSARIAL = ("--tile", 80, "--discriminator", "ffce", "--generator-warmup-iteration", 4)
SMALL = [["small discriminators"]]


def make_gan(name="ffc", **changes):
    settings = {"tile": 80, "backward_step": 2, "generator_warmup_iteration": 0, "learning_rate": 1e-2}
    settings |= {"disable_amp": True} | changes  # in fp32, because not every processor has bf16
    return Gan(Config(discriminator=name, **settings), seed=5, device=CPU)


def make_sequence(number, side=48):
    """Truth (12 3 H W) and a soft mask (12 1 H W)."""
    gen = torch.Generator().manual_seed(number)
    mask = torch.zeros(12, 1, side, side)
    mask[..., 8:24, 8:16] = 1
    return torch.rand(12, 3, side, side, generator=gen), mask


class Painter(torch.nn.Module):
    """A network whose output is a weight times a picture, some of it out of [0, 1]."""

    def __init__(self):
        super().__init__()
        self.to_image = torch.nn.Conv2d(3, 3, 1, bias=False)
        torch.nn.init.dirac_(self.to_image.weight)

    def forward(self, x):
        return 1.5 * self.to_image(x) - 0.2


def one_backward(gan, network, step=0, number=0):
    target, mask = make_sequence(number)
    output = network(make_sequence(number + 100)[0])
    loss = (output - target).abs().mean()
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return gan.backward(step, [loss / 2], [output], [target], [mask], network, scaler)[0]


def update(gan, result):
    return gan.update(Group(0, 1, CPU), [result])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_both_networks_get_the_gradients_of_the_formulas(name):
    gan, network = make_gan(name), Painter()
    gan.adaptive.value = 2.0
    result = one_backward(gan, network)

    plain, discriminator = Painter(), make_gan(name).network
    member = generator(5, 0, "member")
    target, mask = make_sequence(0)
    output = plain(make_sequence(100)[0])
    reconstruction = (output - target).abs().mean()
    adversarial = -discriminator(clamp_leaky(output), target, mask, member)[0].mean()
    ((reconstruction + 0.2 * 2.0 * adversarial) / 2).backward()
    torch.testing.assert_close(network.to_image.weight.grad, plain.to_image.weight.grad, rtol=1e-4, atol=1e-8)

    discriminator.zero_grad()
    fake, m = discriminator(output.detach().clamp(0, 1), target, mask, member)
    real, _ = discriminator(target, target, mask, member)
    hinge = 0.5 * ((1 - real).relu()[m].mean() + (1 + fake).relu()[m].mean())
    (hinge / 2).backward()
    for ours, theirs in zip(gan.network.parameters(), discriminator.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-7)
    assert result.generator_loss == pytest.approx(adversarial.item(), rel=1e-4)
    assert result.discriminator_loss == pytest.approx(hinge.item(), rel=1e-4)


def test_the_adversarial_gradient_becomes_as_long_as_the_other_times_its_weight():
    gan, network = make_gan(), Painter()
    first = one_backward(gan, network)
    alone = network.to_image.weight.grad.clone()
    assert alone.norm() == pytest.approx(first.reconstruction_norm, rel=1e-5)  # no weight is known yet
    assert update(gan, first)
    assert gan.adaptive.value == pytest.approx(first.reconstruction_norm / first.generator_norm)
    again = make_gan()  # the same discriminator as before its first step
    again.adaptive.value = gan.adaptive.value
    network.zero_grad()
    one_backward(again, network)
    assert (network.to_image.weight.grad - alone).norm() == pytest.approx(0.2 * first.reconstruction_norm, rel=1e-3)


def test_a_scaled_loss_changes_neither_the_weight_nor_the_proportion():
    gan, network = make_gan(), Painter()
    gan.adaptive.value = 1.0
    plain = one_backward(gan, network)
    target, mask = make_sequence(0)
    twin = Painter()
    output = twin(make_sequence(100)[0])

    class Scaler:
        scale = staticmethod(lambda loss: 1024 * loss)

    loss = 1024 * (output - target).abs().mean() / 2
    scaled = make_gan()
    scaled.adaptive.value = 1.0
    (result,) = scaled.backward(0, [loss], [output], [target], [mask], twin, Scaler)
    torch.testing.assert_close(twin.to_image.weight.grad / 1024, network.to_image.weight.grad)
    ratios = [found.reconstruction_norm / found.generator_norm for found in (result, plain)]
    assert ratios[0] == pytest.approx(ratios[1], rel=1e-5)


def test_a_discriminator_that_gives_nan_is_not_stepped_and_the_network_learns_from_the_reconstruction():
    gan, network, plain = make_gan(), Painter(), Painter()
    one_backward(make_gan(), plain)  # no weight is known: the reconstruction alone
    gan.adaptive.value = 3.0
    with torch.no_grad():
        gan.network.classifier.bias.fill_(float("nan"))
        before = gan.network.features[1].weight.clone()
    result = one_backward(gan, network)
    torch.testing.assert_close(network.to_image.weight.grad, plain.to_image.weight.grad)
    assert not update(gan, result)
    assert torch.equal(gan.network.features[1].weight, before) and gan.adaptive.value == 3.0


def test_the_discriminator_learns_to_distinguish_inpainted_from_true():
    gan, network = make_gan("ffc", learning_rate=1e-3), Painter()
    losses = []
    for step in range(4):
        gan.optimizer.zero_grad()
        result = one_backward(gan, network, step)
        assert update(gan, result)
        losses.append(result.discriminator_loss)
    assert losses[-1] < 0.7 * losses[0]


def test_the_member_of_an_ensemble_depends_on_the_step_alone(monkeypatch):
    monkeypatch.setitem(DISCRIMINATORS, "ffce", small_ensemble)

    def used_parameters(number):
        found = []
        for step in range(12):
            gan.optimizer.zero_grad()
            one_backward(gan, network, step, number)
            found.append([p.grad is not None for p in gan.network.parameters()])
        return found

    gan, network = make_gan("ffce"), Painter()
    assert used_parameters(0) == used_parameters(1)
    assert len({tuple(row) for row in used_parameters(0)}) > 1


def test_a_restored_discriminator_continues_with_its_weights_and_running_weight():
    gan, network = make_gan(), Painter()
    update(gan, one_backward(gan, network))
    saved = {"backfill": {"gan": gan.state_dict()}}
    other = make_gan()
    other.load_state_dict(gan.state_dict())
    assert other.adaptive == gan.adaptive != AdaptiveWeight()
    fresh = create_gan(other.config, 9, CPU, saved)  # --reset-state: weights alone
    assert fresh.adaptive == AdaptiveWeight()
    for restored in (other, fresh):
        for name, value in restored.network.state_dict().items():
            assert torch.equal(value, gan.network.state_dict()[name])


def test_any_size_of_network_has_the_weight_that_the_proportion_is_measured_at():
    for kwargs in ({"base_dim": 4}, {"base_dim": 8, "lv2_mlp_ratio": 2}):
        network = LightVideoInpaint(**kwargs)
        target, mask = make_sequence(0, side=80)
        output = network(*network.preprocess(target, mask))
        target, mask = trim(target), trim(mask)
        loss = (output - target).abs().mean()
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        gan = make_gan()
        gan.adaptive.value = 1.0
        result: AdversarialResult = gan.backward(0, [loss], [output], [target], [mask], network, scaler)[0]
        assert result.reconstruction_norm > 0 and result.generator_norm > 0
        assert all(p.grad is not None for p in network.parameters())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("gan") / "data", records=6, evaluation=2, size=80)


@pytest.mark.slow
def test_two_processes_that_are_killed_and_resumed_end_as_one_that_never_was(data, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    trainings.train(one, *trainings.command(data, one, *ADVERSARIAL), hooks=SMALL)
    flags = trainings.command(data, two, *ADVERSARIAL, "--resume")
    job = trainings.start(two, *flags, world=2, hooks=[*SMALL, ["signal at", "train.loop.step", 4, signal.SIGKILL]])
    assert job.wait() == [-signal.SIGKILL, -signal.SIGKILL]
    trainings.train(two, *flags, world=2, hooks=SMALL)
    assert trainings.results(two) == trainings.results(one)
    saved = trainings.checkpoint(two)
    assert len(saved["optimizer_state_dict"]) == 2 and saved["backfill"]["gan"]["adaptive"]["value"] > 0
    shown = trainings.curves(two)
    factors = [value for _, value in shown["steps/adversarial/factor"]]
    assert factors[0] == 0 < factors[-1]
    best = min(value for _, value in shown["epochs/eval/loss"])
    assert saved["best_loss"] == pytest.approx(best, rel=1e-6)  # the reconstruction's, not the newest


@pytest.mark.slow
def test_another_discriminator_than_the_checkpoints_is_refused(data, tmp_path):
    trainings.train(tmp_path, *trainings.command(data, tmp_path, "--tile", 80, "--max-epoch", 2))
    job = trainings.start(
        tmp_path, *trainings.command(data, tmp_path, *ADVERSARIAL, "--max-epoch", 2, "--resume"), hooks=SMALL
    )
    assert job.wait() == [2]
    assert "--discriminator: none -> ffce" in job.log() and "--reset-state" in job.log()


def test_a_tile_too_small_for_the_discriminator_is_refused():
    with pytest.raises(ValueError, match=r"--tile 64: --discriminator l3c needs 80 or more"):
        Config(discriminator="l3c", tile=64)
