from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import gaussian_blur

from tests.support.training.trainings import one_thread  # noqa: F401
from tests.train.data.test_crop import assert_shares, assert_uniform
from train.data.augment import to_device_batch
from train.data.crop import cut, draw_params
from train.data.looks import CHANNELS, Look, apply_looks, blur, draw_look, shrink
from train.data.plan import Slot
from train.data.samples import Sample
from train.runtime.seeds import generator

COUNT = 20_000
PLAIN = Look(1, False, (0, 1, 2), (), 0.5, 0.5, 0.0)


@pytest.fixture(scope="module")
def drawn():
    """The looks of many slots of one epoch."""
    return [draw_look(generator(7, 3, slot, "crop")) for slot in range(COUNT)]


@pytest.fixture
def clip():
    """Frames and holes of a tile, as a batch of one."""
    gen = torch.Generator().manual_seed(0)
    return torch.rand(1, 4, 3, 32, 32, generator=gen), torch.rand(1, 4, 1, 32, 32, generator=gen) < 0.1


def looked(clip, look):
    """A copy of the clip with this look."""
    return apply_looks(clip[0].clone(), clip[1].clone(), [look])


def test_looks_come_in_the_shares_that_are_told(drawn):
    assert_shares([look.shrink for look in drawn], {1: 0.5, 2: 0.5})
    assert_shares([look.upside_down for look in drawn], {False: 0.5, True: 0.5})
    assert_shares([bool(look.gain) for look in drawn], {False: 0.5, True: 0.5})
    assert_shares([look.blur > 0 for look in drawn], {False: 0.5, True: 0.5})
    shares = dict.fromkeys(CHANNELS, 1 / 12) | {(0, 1, 2): 7 / 12}
    assert_shares([look.channels for look in drawn], shares)


def test_numbers_of_looks_are_uniform_between_their_bounds(drawn):
    assert_uniform([np.log(look.blur / 0.5) / np.log(6) for look in drawn if look.blur], 0, 1)
    assert_uniform([look.pivot for look in drawn], 0.2, 0.6)
    assert_uniform([look.level for look in drawn], 0.2, 0.8)
    gains = np.log2([look.gain for look in drawn if look.gain])
    assert -1.5 <= gains.min() < -1.3 and 1.3 < gains.max() < 1.5
    assert abs(gains.mean()) < 0.02 and np.ptp(gains, axis=1).max() < 1  # channels differ less than clips


def test_a_slot_has_the_same_draws_as_iw3s_and_a_look_besides():
    for slot in range(20):
        plain, strong = (
            draw_params(generator(1, 2, slot, "crop")),
            draw_params(generator(1, 2, slot, "crop"), strong=True),
        )
        assert plain.look is None and strong.look is not None and replace(strong, look=None) == plain


def test_a_look_that_changes_nothing_changes_nothing(clip):
    before = [part.clone() for part in clip]
    frames, holes = apply_looks(*shrink(*clip, PLAIN.shrink), [PLAIN])
    assert frames is clip[0] and holes is clip[1]
    assert torch.equal(frames, before[0]) and torch.equal(holes, before[1])


def test_upside_down_turns_frames_and_holes_and_keeps_left_and_right(clip):
    frames, holes = looked(clip, replace(PLAIN, upside_down=True))
    assert torch.equal(frames[0, 2, 1, 5], clip[0][0, 2, 1, 26])
    assert torch.equal(holes[0, 2, 0, 5], clip[1][0, 2, 0, 26])


def test_channels_gain_and_level_are_alike_in_all_frames_and_leave_holes(clip):
    look = replace(PLAIN, channels=(2, 0, 1), gain=(0.5, 1.0, 2.0), pivot=0.4, level=0.6)
    frames, holes = looked(clip, look)
    assert torch.equal(holes, clip[1])
    for c, (source, gain) in enumerate(zip((2, 0, 1), (0.5, 1.0, 2.0), strict=True)):
        expected = ((clip[0][:, :, source] - 0.4) * gain + 0.6).clamp(0, 1)
        assert torch.allclose(frames[:, :, c], expected, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.5, 1.3, 3.0])
def test_bluring_is_torchvisions_gaussian_blur(clip, sigma):
    size = 2 * int(np.ceil(3 * sigma)) + 1
    assert torch.allclose(blur(clip[0], [sigma])[0], gaussian_blur(clip[0][0], size, sigma), atol=1e-6)


def test_what_is_shrunk_is_the_mean_of_squares_hidden_where_a_part_is(clip):
    frames, holes = shrink(*clip, 2)
    squares = clip[0].numpy().reshape(1, 4, 3, 16, 2, 16, 2)
    assert np.allclose(frames.numpy(), squares.mean((4, 6)), atol=1e-6)
    assert np.array_equal(holes.numpy(), clip[1].numpy().reshape(1, 4, 1, 16, 2, 16, 2).any((4, 6)))


@pytest.mark.parametrize(("size", "seen"), [(128, 128), (127, 64)])
def test_a_look_shrinks_where_the_record_is_large_enough(size, seen):
    gen = np.random.default_rng(0)
    frames = gen.integers(0, 256, (12, size, size, 3), dtype=np.uint8)
    masks = gen.choice(np.array([0, 255], np.uint8), (12, size, size), p=(0.9, 0.1))
    boxes = []

    def frames_in(box):
        boxes.append((box[2] - box[0], box[3] - box[1]))
        return frames[:, box[1] : box[3], box[0] : box[2]]

    draws = replace(draw_params(generator(1)), jitter=None, outer=0, inner=0, look=replace(PLAIN, shrink=2))
    tile = cut(frames_in, masks, 64, draws)
    y, x = tile.corner
    sample = Sample(torch.from_numpy(tile.frames), tile.holes, Slot(1, 0, 0), 0, look=tile.look)
    (colours,), (holes,) = to_device_batch([sample], "cpu")
    assert boxes == [(seen, seen)] and colours.shape == (12, 3, 64, 64) and holes.shape == (12, 1, 64, 64)
    inside = frames[:, y : y + seen, x : x + seen].transpose(0, 3, 1, 2)
    expected = inside.reshape(12, 3, 64, seen // 64, 64, seen // 64).mean((3, 5)) / 255
    assert np.allclose(colours.numpy(), expected, atol=1e-6)
