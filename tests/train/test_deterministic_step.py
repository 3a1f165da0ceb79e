"""No operation of a training with --deterministic is one that raises an error on a GPU, because torch says so there."""

import re

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from model import discriminators
from tests.support.training import trainings
from train import build
from train.config import Config
from train.data.crop import draw_params
from train.data.plan import Slot
from train.data.samples import Sample
from train.evaluation.evaluate import FILLS
from train.evaluation.metrics import sequence_metrics
from train.objectives import diff_aug
from train.objectives.loss import LOSSES, create_loss
from train.objectives.perceptual import Perceptual, vgg16_trunk
from train.runtime.dist import Group
from train.runtime.seeds import generator
from train.step import forward_backward, update

CPU = torch.device("cpu")
# what torch's documentation says to raise an error, and the operations below it; () where no model computes so
RAISING = {
    "AvgPool3d": ("avg_pool3d_backward",),
    "AdaptiveAvgPool2d": ("_adaptive_avg_pool2d_backward",),
    "AdaptiveAvgPool3d": ("_adaptive_avg_pool3d_backward",),
    "AdaptiveMaxPool2d": ("adaptive_max_pool2d_backward",),
    "FractionalMaxPool2d": ("fractional_max_pool2d_backward",),
    "FractionalMaxPool3d": ("fractional_max_pool3d_backward",),
    "MaxUnpool1d": ("max_unpool2d",),
    "MaxUnpool2d": ("max_unpool2d",),
    "MaxUnpool3d": ("max_unpool3d",),
    "interpolate": (
        *("upsample_linear1d_backward", "upsample_trilinear3d_backward"),
        *("upsample_bilinear2d_backward", "_upsample_bilinear2d_aa_backward"),
        *("upsample_bicubic2d_backward", "_upsample_bicubic2d_aa_backward"),
    ),
    "ReflectionPad1d": ("reflection_pad1d_backward",),
    "ReflectionPad2d": ("reflection_pad2d_backward",),
    "ReflectionPad3d": ("reflection_pad3d_backward",),
    "NLLLoss": ("nll_loss_forward", "nll_loss2d_forward"),
    "CTCLoss": ("_ctc_loss_backward",),
    "EmbeddingBag": ("_embedding_bag_backward",),
    "put_": ("put", "put_"),
    "histc": ("histc",),
    "bincount": ("bincount",),
    "median": ("median", "nanmedian"),
    "grid_sample": ("grid_sampler_2d_backward", "grid_sampler_3d_backward"),
    "scatter_reduce": ("scatter_reduce", "scatter_reduce_"),
    "resize_": (),  # of a quantized tensor
}
NAMES = {name for names in RAISING.values() for name in names}


class Recorder(TorchDispatchMode):
    """Collects the names of the operations that run inside of it."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.names.add(operation.overloadpacket.__name__)
        return operation(*args, **(kwargs or {}))


@pytest.fixture
def on_gpu(monkeypatch):
    """Inside of the test modules take the path of a GPU with deterministic algorithms alone."""
    for module in (discriminators, diff_aug):
        monkeypatch.setattr(module, "must_be_deterministic", lambda x: True)
    monkeypatch.setattr(diff_aug, "sample_on_cpu", lambda x, grid, mode: 1 * x)


def recorded(monkeypatch, tile, *flags, seed=1):
    """The operations of a step of one sequence, with its batch, loss and optimizer."""
    small = Perceptual(vgg16_trunk((4,) * 5), [torch.ones(4)] * 5)
    monkeypatch.setattr(build, "create_network", trainings.create_tiny)
    monkeypatch.setattr(build, "create_loss", lambda name, frames, _: create_loss(name, frames, perceptual=small))
    config = Config(tile=tile, backward_step=1, disable_amp=True, ema_model=True, clip_grad_norm=1.0, **dict(flags))
    learner = build.build_learner(config, Group(0, 1, CPU), 1, None)
    with Recorder() as recorder:
        learner.optimizer.zero_grad()
        forward_backward(learner, config, CPU, [sample(tile, seed)], 1, [generator(seed, 1, 0, "loss")])
        update(learner, config, True)
        if learner.gan:
            learner.gan.optimizer.step()
    return recorder.names


def sample(tile, seed):
    gen = torch.Generator().manual_seed(seed)
    params = draw_params(generator(seed, 1, 0, "crop"), strong=True)
    frames = torch.randint(0, 256, (12, 2 * tile, 2 * tile, 3), dtype=torch.uint8, generator=gen)
    holes = torch.rand(12, 2 * tile, 2 * tile, generator=gen) > 0.9
    side = tile * params.look.shrink
    return Sample(frames[:, :side, :side], holes[:, :side, :side], Slot(1, 0, 0), 0, params.jitter, params.look)


def test_the_list_is_that_of_torch():
    documented = torch.use_deterministic_algorithms.__doc__
    section = documented.split(":class:`RuntimeError` when ``mode=True``:")[1].split("In addition")[0]
    found = re.findall(r"\* :(?:class|func):`torch\.(?:\w+\.)*(\w+)`", section)
    assert len(found) > 20 and set(found) == set(RAISING)


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_needs_no_operation_that_raises_on_a_gpu(name, on_gpu, monkeypatch):
    names = recorded(monkeypatch, 64, ("loss", name))
    assert "convolution_backward" in names and not names & NAMES


def test_augmentation_needs_none_either(on_gpu, monkeypatch):
    seen = [recorded(monkeypatch, 64, ("loss", "temporal_l1"), ("diff_aug", True), seed=seed) for seed in range(6)]
    names = set.union(*seen)
    assert {"avg_pool2d", "addcmul_", "reflection_pad2d", "linspace"} < names  # they shrink, blur, shift and rotate
    assert not names & NAMES


@pytest.mark.parametrize("name", ["l3c", "ffc", "t_patchgan"])  # of which the others are made
def test_a_discriminator_needs_none_either(name, on_gpu, monkeypatch):
    names = recorded(monkeypatch, 80, ("loss", "temporal_l1"), ("discriminator", name))
    assert "convolution_backward" in names and not names & NAMES


def test_the_paths_that_a_gpu_takes_otherwise_are_noticed(monkeypatch):
    rotated = recorded(monkeypatch, 64, ("loss", "dct"))
    assert rotated & NAMES == {"grid_sampler_2d_backward"}
    scored = recorded(monkeypatch, 80, ("loss", "temporal_l1"), ("discriminator", "l3c"))
    assert scored & NAMES == {"_adaptive_avg_pool2d_backward"}


def test_an_evaluation_during_training_needs_none_either():
    frames, holes = torch.rand(12, 3, 32, 32), torch.rand(12, 1, 32, 32) > 0.9
    with Recorder() as recorder:
        for fill in FILLS.values():
            sequence_metrics(fill(frames, holes), frames, holes)
    assert "gather" in recorder.names and not recorder.names & NAMES
