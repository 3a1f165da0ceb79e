from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model.light_video_inpaint import LightVideoInpaint
from train.config import Config
from train.objectives.loss import create_loss
from train.operations import operations_of
from train.runtime.throughput import Throughput, peak_of


@pytest.fixture
def learner():
    network = LightVideoInpaint(base_dim=4, generator=torch.Generator().manual_seed(0))
    return SimpleNamespace(network=network, criterion=create_loss("temporal_l1"))


def test_the_operations_that_are_counted_are_those_of_a_real_step_and_leave_no_gradient(learner):
    network, frames = learner.network, torch.rand(12, 3, 64, 64)
    found = operations_of(learner, Config(tile=64, loss="temporal_l1"))
    assert all(weight.grad is None for weight in network.parameters())
    with FlopCounterMode(display=False) as counter:
        network(*network.preprocess(frames, frames[:, :1] > 0.5)).sum().backward()
    assert found == counter.get_total_flops() > 0


def test_recomputed_activations_are_not_counted_twice(learner):
    once = operations_of(learner, Config(tile=64))
    learner.network.checkpoint_blocks = True
    assert operations_of(learner, Config(tile=64)) == once and learner.network.checkpoint_blocks


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989),
        ("NVIDIA H100 PCIe", "fp16", 756),
        ("NVIDIA H200", "bf16", 989),
        ("NVIDIA A100-SXM4-40GB", "fp32", 19.5),
        ("NVIDIA A10G", "bf16", 125),
        ("NVIDIA L4", "bf16", 121),
        ("NVIDIA L40S", "bf16", 362),
        ("Tesla T4", "fp16", 65),
        ("NVIDIA GeForce RTX 4090", "fp16", 165.2),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "fp16", None),
        ("a card of tomorrow", "bf16", None),
        ("cpu", "bf16", None),
    ],
)
def test_the_peak_of_a_card_is_found_by_its_name(name, precision, peak):
    assert peak_of(name, precision) == peak


def test_the_share_of_the_peak_is_shown_only_where_the_peak_is_known():
    assert Throughput(2e12, 100.0).curves(4, 2.0) == {"speed/tflops": 4.0, "speed/share_of_peak": 0.04}
    assert Throughput(2e12, None).curves(4, 2.0) == {"speed/tflops": 4.0}
