"""Tensors without data on a GPU that is not there: a tensor left on the CPU by mistake raises an error."""

from fractions import Fraction
from types import SimpleNamespace
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from av.video.reformatter import ColorPrimaries, ColorTrc
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from model import discriminators, morphology
from model.discriminators import DISCRIMINATORS, create_discriminator
from model.light_video_inpaint import LightVideoInpaint
from model.mask_mlbw import MaskMLBW
from pack.depth.motion import MotionDepth
from pack.holes import monobw
from pack.holes.forward import forward_warp, half_holes, nonwarp_mask
from pack.holes.kinds import KINDS
from pack.holes.monobw import moved_holes
from pack.video.frame_data.hdr import Hdr
from tools.evaluation import baselines, motion, quality
from tools.synthesis.confidence import Confidence, Filled, features
from tools.synthesis.layouts import LAYOUTS, compose
from tools.synthesis.tone import SeesSdr
from tools.synthesis.views import Geometry, paint, see, with_depth
from tools.synthesis.warps import right_eye
from train.config import Config
from train.data import looks as looks_module
from train.data.augment import jitter_, to_device_batch, to_float
from train.data.looks import apply_looks, draw_look, shrink
from train.data.plan import Slot
from train.data.samples import Sample
from train.evaluation.metrics import sequence_metrics, temporal_difference
from train.objectives.adversarial import clamp_leaky, discriminator_loss, generator_loss, shared_noise
from train.objectives.dct import clear_cache
from train.objectives.diff_aug import rotate, rotate_holes, translate, translate_holes
from train.objectives.loss import LOSSES, create_loss
from train.objectives.perceptual import Perceptual, vgg16_trunk
from train.optimizers import ema as ema_module
from train.optimizers.recipe import create_optimizer_of
from train.runtime.determinism import use_deterministic_algorithms

SIZE = 80


@pytest.fixture
def fake():
    """Inside of the test every new tensor has a shape and a device, and no data."""
    with FakeTensorMode():
        yield


def on_gpu(module):
    """The module with weights without data on the GPU."""
    for part in module.modules():
        for values in (part._parameters, part._buffers):
            for name, value in values.items():
                if value is None:
                    continue
                moved = torch.empty(value.shape, dtype=value.dtype, device="cuda")
                values[name] = torch.nn.Parameter(moved, value.requires_grad) if values is part._parameters else moved
    return module


def network():
    return LightVideoInpaint(base_dim=8)


def clip(sequences=1, frames=12):  # -> (12B 3 S S), bool (12B 1 S S)
    shape = frames * sequences, 3, SIZE, SIZE
    return torch.empty(shape, device="cuda"), torch.empty(shape[0], 1, SIZE, SIZE, device="cuda") > 0


@pytest.mark.parametrize("sequences", [1, 2])
def test_the_network_stays_on_the_device(sequences):
    real = network()
    with FakeTensorMode():
        moved = on_gpu(real)
        output = moved(*moved.preprocess(*clip(sequences)))
    assert output.device.type == "cuda" and output.shape == (12 * sequences, 3, SIZE - 32, SIZE - 32)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_the_network_in_half_precision_stays_on_the_device(half):
    real = network()
    torch.set_autocast_dtype("cuda", half)
    torch.set_autocast_enabled("cuda", True)  # torch.autocast refuses where there is no GPU
    try:
        with FakeTensorMode(), torch.no_grad():
            moved = on_gpu(real)
            output = moved(*moved.preprocess(*clip()))
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.set_autocast_dtype("cuda", torch.float16)
        torch.clear_autocast_cache()
    assert output.device.type == "cuda" and output.shape == (12, 3, SIZE - 32, SIZE - 32)


def test_clips_of_any_length_are_filled_on_the_device():
    real = network().eval()
    with FakeTensorMode():
        frames, holes = torch.empty(16, 3, SIZE, SIZE, device="cuda"), torch.empty(16, 1, SIZE, SIZE, device="cuda") > 0
        filled = on_gpu(real).infer(frames, holes, closing=True, inner_dilation=1, outer_dilation=2, base_width=640)
    assert filled.device.type == "cuda" and filled.shape == frames.shape


@pytest.mark.parametrize("view", ["left", "right"])
def test_holes_and_warped_views_stay_on_the_device(fake, view):
    depth, frames = torch.empty(2, 1, 48, SIZE, device="cuda"), torch.empty(2, 3, 48, SIZE, device="cuda")
    found = [
        nonwarp_mask(depth, 3.0, 0.5, view),
        half_holes(depth, 3.0, 0.5, view),
        *forward_warp(frames, depth, 3.0, 0.5, view),
    ]
    assert {part.device.type for part in found} == {"cuda"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_other_eye_and_its_holes_stay_on_the_device(kind, monkeypatch):
    monkeypatch.setattr(monobw, "_taps", lambda: SimpleNamespace(tolist=lambda: [1 / monobw.TAPS] * monobw.TAPS))
    real = MaskMLBW().eval()
    with FakeTensorMode(), torch.no_grad():
        frames, depth = torch.empty(2, 3, 96, 2 * SIZE, device="cuda"), torch.empty(2, 1, 48, SIZE, device="cuda")
        found = [*right_eye(kind, frames, depth, 3.0, 0.5, on_gpu(real)), moved_holes(depth, (96, 160), 3.0, 0.5)]
    assert {part.device.type for part in found} == {"cuda"}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_stay_on_the_device(name):
    criterion = create_loss(name, perceptual=Perceptual(vgg16_trunk((4,) * 5), [torch.ones(4)] * 5))
    clear_cache()
    with FakeTensorMode():
        frames, holes = clip()
        terms = on_gpu(criterion)(frames, frames, holes)
    clear_cache()
    assert {value.device.type for value in terms.values()} == {"cuda"}


def test_augmentation_of_losses_stays_on_the_device(fake):
    frames, holes = clip()
    found = [translate(frames, 3, -2), rotate(frames, 7.0), translate_holes(holes, 3, -2), rotate_holes(holes, 7.0)]
    assert {part.device.type for part in found} == {"cuda"}


def test_augmentation_of_batches_stays_on_the_device(monkeypatch):
    monkeypatch.setattr(looks_module, "_taps", lambda sigma, radius: [1 / (2 * radius + 1)] * (2 * radius + 1))
    looks = [draw_look(torch.Generator().manual_seed(seed)) for seed in range(8)]
    with FakeTensorMode():
        frames = to_float(torch.empty(8, 12, SIZE, SIZE, 3, dtype=torch.uint8, device="cuda"))
        frames, holes = shrink(frames, torch.empty(8, 12, 1, SIZE, SIZE, device="cuda") > 0, 2)
        frames, holes = apply_looks(frames, holes, looks)
        frames = jitter_(frames, ["gray", None, *[((1.1, 0.9, 1.0), (0.0, 0.1, 0.0))] * 6])
    assert frames.device.type == holes.device.type == "cuda" and frames.shape == (8, 12, 3, SIZE // 2, SIZE // 2)


def test_a_batch_is_made_on_the_device(fake):
    frames, holes = torch.empty(12, SIZE, SIZE, 3, dtype=torch.uint8), torch.empty(12, SIZE, SIZE, dtype=torch.bool)
    batch = to_device_batch([Sample(frames, holes, Slot(1, place, 0), 0) for place in range(2)], "cuda")
    assert {part.device.type for part in batch} == {"cuda"}


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminators_stay_on_the_device(name):
    real = create_discriminator(name)
    with FakeTensorMode():
        frames, holes = torch.empty(3, 3, 64, 64, device="cuda"), torch.empty(3, 1, 64, 64, device="cuda") > 0
        found = on_gpu(real)(frames, frames, holes)
    assert {part.device.type for part in found} == {"cuda"}


@pytest.mark.parametrize("name", get_args(get_type_hints(Config)["optimizer"]))
def test_steps_of_optimizers_and_averaged_weights_stay_on_the_device(name, monkeypatch):
    monkeypatch.setattr(ema_module, "get_total_norm", lambda _: SimpleNamespace(isfinite=lambda: True))
    real = network()
    with FakeTensorMode():
        moved = on_gpu(real)
        optimizer, average = create_optimizer_of(Config(optimizer=name), moved), ema_module.EMA(moved)
        for weight in moved.parameters():
            weight.grad = torch.empty_like(weight)
        for _ in range(2):
            optimizer.step()
            average.update()
        with average.averaged():
            kept = [*moved.parameters(), *average.weights.values()]
        for state in optimizer.state.values():
            kept += [value for value in state.values() if isinstance(value, torch.Tensor) and value.ndim]
    assert {part.device.type for part in kept} == {"cuda"}


@pytest.mark.parametrize("name", [name for name in baselines.BASELINES if name not in baselines.OPENCV])
def test_simple_fills_stay_on_the_device(name, monkeypatch):
    for module in (motion, baselines):
        monkeypatch.setattr(module, "HAS_CV2", False)  # OpenCV computes on the CPU
    with FakeTensorMode():
        assert baselines.BASELINES[name](*clip(frames=3)).device.type == "cuda"


def test_metrics_stay_on_the_device(monkeypatch):
    monkeypatch.setattr(motion, "HAS_CV2", False)
    with FakeTensorMode(shape_env=ShapeEnv()):  # which counts pixels in holes
        frames, holes = clip(frames=3)
        truth = quality.Truth.of(frames, holes)
        found = [*sequence_metrics(frames, frames, holes).values(), *quality.maps(frames, frames)]
        found += [quality.warping_error(frames, truth), quality.flow_difference(frames, truth)]
        found += [temporal_difference(frames, frames, holes), quality.hole_widths(holes)]
    assert {part.device.type for part in found} == {"cuda"}


def test_the_offline_depth_stays_on_the_device(fake):
    depth = MotionDepth(64, "cuda")(torch.empty(16, 3, 96, 128, device="cuda"))
    assert depth.device.type == "cuda"


@pytest.mark.parametrize("act", ["dilate", "erode", "mask_closing", "mask_blur"])
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_masks_stay_on_the_device(fake, act, dtype):
    assert getattr(morphology, act)(torch.empty(2, 1, SIZE, SIZE, device="cuda", dtype=dtype)).device.type == "cuda"


def test_adversarial_losses_stay_on_the_device(fake):
    frames, holes = clip(frames=3)
    pair = shared_noise(clamp_leaky(frames), frames, torch.Generator())
    score = frames[:, :1]
    found = [*pair, generator_loss(score), discriminator_loss(score, score, holes)]
    assert {part.device.type for part in found} == {"cuda"}


def test_the_deterministic_paths_stay_on_the_device(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # which the call below sets
    before = torch.backends.cudnn.benchmark, torch.utils.deterministic.fill_uninitialized_memory
    real = create_discriminator("l3c")
    use_deterministic_algorithms()
    try:
        with FakeTensorMode():
            frames, holes = torch.empty(3, 3, 64, 64, device="cuda"), torch.empty(3, 1, 64, 64, device="cuda") > 0
            assert discriminators.must_be_deterministic(frames)
            found = [*on_gpu(real)(frames, frames, holes), rotate(frames, 7.0), morphology.mask_blur(holes)]
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark, torch.utils.deterministic.fill_uninitialized_memory = before
    assert {part.device.type for part in found} == {"cuda"}


@pytest.mark.parametrize("by", ["minmax", "robust"])
def test_a_film_of_two_windows_is_converted_on_the_device(by):
    shot = [(Fraction(t), np.zeros((48, SIZE, 3), np.uint8)) for t in range(30)]
    network = LightVideoInpaint(base_dim=8).eval()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        how = Geometry(3.0, 0.5, torch.square)
        framed = [*with_depth(shot, lambda frames: frames[:, :1], torch.device("cuda"), by=by)]
        views = [see(one.seconds, one.frame, one.nearness, how, one.state) for one in framed]
        painted = [*paint(views, [on_gpu(network).infer])]
        states = [part for view in views if view.state for part in vars(view.state).values()]
        kept = [part for part in states if isinstance(part, torch.Tensor)]
        kept += [part for view, eyes in painted for part in (view.frame, view.holes, *eyes)]
    assert len(painted) == 30 and {part.device.type for part in kept} == {"cuda"}


def test_pictures_of_a_film_stay_on_the_device(fake):
    frames, holes = clip(frames=2)
    now, before = (Filled(frame, hole) for frame, hole in zip(frames, holes, strict=True))
    found = features(now, frames[0], before)
    kept = [found, Confidence((1.0,) * 4, "").expected(found, holes[0])]
    kept += [compose(name, *frames, order) for name, order in LAYOUTS]
    assert {part.device.type for part in kept} == {"cuda"}


def test_tone_mapped_frames_stay_on_the_device():
    model = SeesSdr(lambda frames: frames, Hdr(ColorTrc.SMPTE2084, ColorPrimaries.BT2020))
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert model(torch.empty(2, 3, 16, 16, device="cuda")).device.type == "cuda"
