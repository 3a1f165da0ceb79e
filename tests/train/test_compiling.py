import pytest
import torch

from model.light_video_inpaint import LightVideoInpaint
from train import compiling
from train.config import Config
from train.objectives.loss import create_loss
from train.objectives.perceptual import Perceptual, vgg16_trunk
from train.runtime.dist import Group

ALONE = Group(0, 1, torch.device("cpu"))
CONFIG = Config(tile=64, loss="temporal_l1lpips", disable_amp=True)
WIDTHS = (2, 3, 4, 5, 6)


@pytest.fixture
def parts():
    network = LightVideoInpaint(base_dim=4, generator=torch.Generator().manual_seed(0))
    perceptual = Perceptual(vgg16_trunk(WIDTHS), [torch.ones(width) for width in WIDTHS])
    return network, create_loss(CONFIG.loss, perceptual=perceptual)


def step(forward, network, criterion):
    """Loss and gradients of a sequence."""
    frames, holes = torch.rand(12, 3, 64, 64, generator=torch.Generator().manual_seed(1)), torch.zeros(12, 1, 64, 64)
    holes[..., 20:40, 20:30] = 1
    network.zero_grad()
    output = forward(*network.preprocess(frames, holes))
    terms = criterion(output, frames[..., 16:-16, 16:-16], holes[..., 16:-16, 16:-16] > 0)
    sum(terms.values()).backward()
    return terms, [parameter.grad.clone() for parameter in network.parameters()]


@pytest.mark.slow
def test_compiled_passes_give_the_same_and_keep_the_names_of_weights(parts, monkeypatch):
    network, criterion = parts
    expected, names = step(network, *parts), [*network.state_dict()]
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")  # inductor takes minutes
    forward = compiling.compile_forward(network, criterion, CONFIG, ALONE)
    assert forward is not network
    torch.testing.assert_close(step(forward, *parts), expected, rtol=1e-4, atol=1e-6)
    assert [*network.state_dict()] == names


def test_a_training_against_a_discriminator_is_not_compiled(parts, capsys):
    assert compiling.compile_forward(*parts, Config(discriminator="ffc", compile=True), ALONE) is parts[0]
    assert capsys.readouterr().out.startswith("--compile has no effect: --discriminator")


@pytest.mark.slow
def test_what_cannot_be_compiled_runs_as_it_is_and_one_line_says_why(parts, monkeypatch, capsys):
    def broken(graph, inputs):
        raise RuntimeError("no working C++ compiler\nis here")

    monkeypatch.setattr(compiling, "BACKEND", broken)
    assert compiling.compile_forward(*parts, CONFIG, ALONE) is parts[0]
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and said.startswith("--compile has no effect: ") and "no working C++" in said
    step(parts[0], *parts)
