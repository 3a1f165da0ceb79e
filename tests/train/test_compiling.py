from pathlib import Path

import pytest
import torch

from model.light_video_inpaint import LightVideoInpaint
from tests.support.training.trainings import NoStop
from train import compiling
from train.config import Config
from train.objectives.loss import create_loss
from train.objectives.perceptual import Perceptual, vgg16_trunk
from train.runtime.dist import Group
from train.runtime.job import Job, Passes

CONFIG = Config(tile=64, loss="temporal_l1lpips", disable_amp=True)
WIDTHS = (2, 3, 4, 5, 6)


def alone(config, batch_size=1):
    """A job of one process."""
    return Job(config, Group(0, 1, torch.device("cpu")), NoStop(), Path(), Passes((batch_size,), 1, 1))


@pytest.fixture
def parts():
    network = LightVideoInpaint(base_dim=4, generator=torch.Generator().manual_seed(0))
    perceptual = Perceptual(vgg16_trunk(WIDTHS), [torch.ones(width) for width in WIDTHS])
    return network, create_loss(CONFIG.loss, perceptual=perceptual)


def step(forward, network, criterion, sequences=1):
    """Losses and gradients of some sequences in one pass."""
    gen = torch.Generator().manual_seed(1)
    frames, holes = torch.rand(12 * sequences, 3, 64, 64, generator=gen), torch.zeros(12 * sequences, 1, 64, 64)
    holes[..., 20:40, 20:30] = 1
    network.zero_grad()
    output = forward(*network.preprocess(frames, holes))
    parts = output, frames[..., 16:-16, 16:-16], holes[..., 16:-16, 16:-16] > 0
    terms = criterion.each([*zip(*(part.split(12) for part in parts), strict=True)], [None] * sequences)
    sum(value for own in terms for value in own.values()).backward()
    return terms, [parameter.grad.clone() for parameter in network.parameters()]


@pytest.mark.slow
def test_compiled_passes_give_the_same_and_keep_the_names_of_weights(parts, monkeypatch):
    network, criterion = parts
    expected, names = step(network, *parts, sequences=2), [*network.state_dict()]
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")  # inductor takes minutes
    forward = compiling.compile_forward(network, criterion, alone(CONFIG, batch_size=2))
    assert forward is not network
    torch.testing.assert_close(step(forward, *parts, sequences=2), expected, rtol=1e-4, atol=1e-6)
    assert [*network.state_dict()] == names


def test_a_training_against_a_discriminator_is_not_compiled(parts, capsys):
    assert compiling.compile_forward(*parts, alone(Config(discriminator="ffc", compile=True))) is parts[0]
    assert capsys.readouterr().out.startswith("--compile has no effect: --discriminator")


@pytest.mark.slow
def test_what_cannot_be_compiled_runs_as_it_is_and_one_line_says_why(parts, monkeypatch, capsys):
    def broken(graph, inputs):
        raise RuntimeError("no working C++ compiler\nis here")

    monkeypatch.setattr(compiling, "BACKEND", broken)
    assert compiling.compile_forward(*parts, alone(CONFIG)) is parts[0]
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and said.startswith("--compile has no effect: ") and "no working C++" in said
    step(parts[0], *parts)
