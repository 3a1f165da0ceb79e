import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.support.training.trainings import one_thread  # noqa: F401
from train.data.augment import jitter_, to_device_batch
from train.data.crop import draw_params
from train.data.looks import Look
from train.data.plan import Slot
from train.data.samples import Sample
from train.runtime.seeds import generator

SIDE, PLAIN = 32, Look(1, False, (0, 1, 2), (), 0.5, 0.5, 0.0)
JITTER = ((0.7, 0.8, 0.9), (0.3, 0.1, 0.05))


def sample(number, jitter=None, look=None):
    """A sample of random pixels."""
    side = SIDE * (look.shrink if look else 1)
    gen = torch.Generator().manual_seed(number)
    frames = torch.randint(0, 256, (12, side, side, 3), generator=gen, dtype=torch.uint8)
    return Sample(frames, torch.rand(12, side, side, generator=gen) < 0.1, Slot(1, number, 0), 0, jitter, look)


def drawn(count, strong):
    """Samples with the random parameters of as many slots."""
    params = [draw_params(generator(5, 2, number, "crop"), strong) for number in range(count)]
    return [sample(number, each.jitter, each.look) for number, each in enumerate(params)]


def expected(one):
    """Frames and holes of one sample, each change as its definition says."""
    frames, holes = one.frames.permute(0, 3, 1, 2).double() / 255, one.holes[:, None]
    look = one.look or PLAIN
    if look.shrink == 2:
        frames, holes = F.avg_pool2d(frames, 2), F.max_pool2d(holes.double(), 2).bool()
    if look.upside_down:
        frames, holes = frames.flip(2), holes.flip(2)
    frames = frames[:, list(look.channels)]
    if look.gain:
        gain = torch.tensor(look.gain, dtype=torch.float64).view(3, 1, 1)
        frames = ((frames - look.pivot) * gain + look.level).clamp(0, 1)
    if look.blur:
        radius = math.ceil(3 * look.blur)
        taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / look.blur) ** 2)
        for axis in (2, 3):
            mirrored = np.pad(frames, [(radius, radius) if axis == a else (0, 0) for a in range(4)], mode="reflect")
            frames = np.apply_along_axis(np.convolve, axis, mirrored, taps / taps.sum(), "valid")
        frames = torch.from_numpy(frames)
    if one.jitter == "gray":
        frames = frames.mean(1, keepdim=True).expand_as(frames)
    elif one.jitter:
        scale, bias = (torch.tensor(values).view(3, 1, 1) for values in one.jitter)
        frames = (frames * scale + bias).clamp(0, 1)
    return frames, holes


@pytest.mark.parametrize("strong", [False, True])
def test_a_batch_is_what_the_definitions_of_its_augmentations_say(strong):
    samples = [*drawn(12, strong), sample(12, "gray"), sample(13, "gray", replace(PLAIN, shrink=2, blur=1.0))]
    frames, holes = to_device_batch(samples, "cpu")
    assert frames.shape == (14, 12, 3, SIDE, SIDE) and holes.shape == (14, 12, 1, SIDE, SIDE)
    assert frames.dtype == torch.float32 and holes.dtype == torch.bool
    for number, one in enumerate(samples):
        colours, hidden = expected(one)
        assert (frames[number] - colours).abs().max() < 1e-6 and torch.equal(holes[number], hidden), number


@pytest.mark.parametrize("strong", [False, True])
def test_the_pixels_of_a_sample_do_not_depend_on_its_batch(strong):
    samples = drawn(9, strong)
    frames, holes = to_device_batch(samples, "cpu")
    for number, one in enumerate(samples):
        alone = to_device_batch([one], "cpu")
        assert torch.equal(frames[number], alone[0][0]) and torch.equal(holes[number], alone[1][0])


def test_making_a_batch_leaves_the_samples_as_they_are():
    samples = [sample(0, "gray"), sample(1, JITTER, replace(PLAIN, upside_down=True, blur=2.0))]
    copies = [replace(one, frames=one.frames.clone(), holes=one.holes.clone()) for one in samples]
    to_device_batch(samples, "cpu")
    for one, copy in zip(samples, copies, strict=True):
        assert torch.equal(one.frames, copy.frames) and torch.equal(one.holes, copy.holes)


def test_a_batch_of_one_without_augmentation_is_its_bytes_over_255():
    one = sample(3)
    (frames,), (holes,) = to_device_batch([one], "cpu")
    assert torch.equal(frames, one.frames.permute(0, 3, 1, 2).float() / 255)
    assert torch.equal(holes[:, 0], one.holes)


def test_jitter_is_iw3s_formula_alike_in_all_frames():
    frames = torch.rand(3, 12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    out = jitter_(frames.clone(), [JITTER, "gray", None])
    for c, (scale, bias) in enumerate(zip(*JITTER, strict=True)):
        assert torch.allclose(out[0, :, c], (frames[0, :, c] * scale + bias).clamp(0, 1))
    assert torch.equal(out[1, :, 0], out[1, :, 1]) and torch.allclose(out[1, :, 2], frames[1].mean(1))
    assert torch.equal(out[2], frames[2])
    assert jitter_(frames, [None] * 3) is frames
