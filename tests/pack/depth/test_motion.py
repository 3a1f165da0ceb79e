"""Nearness without a depth model: from motion and outlines, steady in time, for any clip."""

import pytest
import torch

from pack.depth import motion
from pack.depth.edge_aware import edges
from pack.depth.motion import MotionDepth, frame_cue, motion_cue, outlines, sharpen, smooth_along_motion
from pack.holes.forward import nonwarp_mask
from pack.kernels.filters import box_filter

HEIGHT, WIDTH, FRAMES = 128, 192, 8


def texture(height, width, seed, contrast):  # (3 H W), detail of all sizes, as photographs have it
    grain = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    return sum(box_filter(box_filter(grain, radius), radius) * radius for radius in (1, 2, 4, 8))[0] * contrast + 0.5


def scene(pan=0, own=3, contrast=0.15, tint=0.0, top=12, frames=FRAMES):
    """A textured square that moves by `own` pixels a frame against a textured ground that moves by `pan`.

    -> frames (T 3 H W), bool (T 1 H W) where the square is.
    """
    ground, square = texture(HEIGHT, WIDTH + 99, 0, contrast), texture(56, 60, 1, contrast) + tint
    clip, place = [], torch.zeros(frames, 1, HEIGHT, WIDTH, dtype=torch.bool)
    for t in range(frames):
        frame = ground[:, :, 50 - pan * t : 50 - pan * t + WIDTH].clone()
        left = 50 + (pan + own) * t
        frame[:, top : top + 56, left : left + 60] = square
        place[t, :, top : top + 56, left : left + 60] = True
        clip.append(frame)
    return torch.stack(clip).clamp(0, 1), place


def motion_weight(frames):
    return float(motion_cue(frames, outlines(frames))[1])


@pytest.mark.parametrize(("pan", "own"), [(0, 2), (2, 3), (-3, 2), (3, -3)])
def test_what_moves_relative_to_the_ground_is_nearer_even_high_in_the_frame(pan, own):
    frames, place = scene(pan, own)
    depth = MotionDepth()(frames)
    assert depth[place].mean() > depth[~place].mean() + 0.3


def test_a_rotating_camera_shows_no_parallax():
    assert motion_weight(scene(pan=3, own=0)[0]) < 0.2
    assert motion_weight(scene(pan=3, own=3)[0]) > 0.4


@pytest.mark.parametrize("own", [0, 2])
def test_depth_steps_lie_on_the_outlines_of_the_frame(own):
    frames, place = scene(pan=1, own=own, contrast=0.05, tint=0.4)
    depth = MotionDepth()(frames)
    inside, outside = depth[place].median(), depth[~place].median()
    near = depth > (inside + outside) / 2
    within = near & torch.nn.functional.max_pool2d(place.float(), 41, 1, 20).bool()  # what is about the square
    assert inside > outside + 0.2
    assert (within & place).sum() > 0.9 * (within | place).sum()


def test_holes_lie_at_the_borders_of_objects():
    frames, place = scene(pan=0, own=2, contrast=0.05, tint=0.4)
    depth = MotionDepth()(frames)
    holes = nonwarp_mask(depth, 5.0, 0.5, "right") > 0
    square = torch.nn.functional.max_pool2d(place.float(), 13, 1, 6) - (
        1 - torch.nn.functional.max_pool2d(1.0 - place.float(), 13, 1, 6)
    )
    assert 0.001 < holes.float().mean() < 0.1
    assert (holes & square.bool()).sum() > 0.7 * holes.sum()


def test_without_motion_outlined_and_low_regions_are_nearer():
    frames = torch.full((2, 3, 96, 128), 0.3)
    frames[..., 30:60, 40:80] = 0.8
    nearness = frame_cue(frames, outlines(frames))
    assert nearness[..., 35:55, 45:75].min() > nearness[..., 35:55, :35].max() + 0.1
    plain = nearness[0, 0, :, 5]
    assert plain.diff().min() > -1e-3
    assert plain[-1] > plain[0] + 0.3


def test_a_still_clip_has_still_depth():
    frames = scene(pan=0, own=0, tint=0.4, frames=1)[0].expand(6, -1, -1, -1)
    depth = MotionDepth()(frames)
    assert (depth - depth[:1]).abs().max() < 1e-3
    assert depth.min() == 0
    assert depth.max() == 1


def test_noise_makes_depth_flicker_little():
    frames, _ = scene(pan=0, own=0, contrast=0.05, tint=0.4)
    frames = frames + 0.02 * torch.randn(frames.shape, generator=torch.Generator().manual_seed(5))
    assert MotionDepth()(frames.clamp(0, 1)).diff(dim=0).abs().mean() < 0.02


def test_depth_is_averaged_along_the_motion():
    frames, _ = scene(pan=0, own=0)
    generator = torch.Generator().manual_seed(3)
    still = torch.zeros(FRAMES - 1, 2, HEIGHT, WIDTH)
    noisy = torch.rand(FRAMES, 1, HEIGHT, WIDTH, generator=generator)
    smooth = smooth_along_motion(noisy, frames, still, still)
    assert smooth.diff(dim=0).abs().mean() < 0.3 * noisy.diff(dim=0).abs().mean()

    ramp = torch.linspace(0, 1, WIDTH).expand(FRAMES, 1, HEIGHT, WIDTH)
    cut = frames.clone()
    cut[4:] = (cut[4:] + 0.5) % 1  # another picture: nothing is taken over from it
    depth = torch.cat((ramp[:4], 1 - ramp[4:]))
    torch.testing.assert_close(smooth_along_motion(depth, cut, still, still), depth, rtol=0, atol=0.05)


def test_sharpening_turns_a_slope_into_a_step_at_the_outline_and_leaves_a_floor():
    picture = torch.zeros(1, 3, 64, 128)
    picture[..., 64:] = 1
    floor = torch.linspace(0, 0.3, 64)[:, None]
    slope = ((torch.arange(128) - 58) / 12).clamp(0, 1) * 0.7 + floor
    sharp = sharpen(slope.expand(1, 1, 64, 128), edges(picture))[0, 0]
    step = sharp[:, 66] - sharp[:, 61]
    assert (step > 0.9 * (sharp[:, 100] - sharp[:, 20])).all()
    assert sharp[:, 20].diff().max() < 0.02


def steepened(row):
    """Each value of a row moved away from the middle of its 7 neighbours, three times as far, where they differ."""
    found = []
    for x, value in enumerate(row):
        low, high = min(row[max(x - 3, 0) : x + 4]), max(row[max(x - 3, 0) : x + 4])
        middle, strength = (low + high) / 2, min(max((high - low - 0.03) / 0.06, 0), 1)
        step = min(max(middle + 3 * (value - middle), low), high)
        found.append(value + strength * (step - value))
    return found


def test_sharpening_makes_slopes_three_times_as_steep_twice(monkeypatch):
    monkeypatch.setattr(motion, "diffuse", lambda depth, *_, **__: depth)
    monkeypatch.setattr(motion, "_rescale", lambda depth, *_: depth)
    x = torch.arange(64) - 32.0
    row = (0.3 + 0.5 * torch.sigmoid(x / 3) + 0.01 * torch.sin(x)).tolist()
    sharp = sharpen(torch.tensor(row).expand(1, 1, 16, 64), edges(torch.ones(1, 3, 16, 64)))[0, 0, 8]
    torch.testing.assert_close(sharp, torch.tensor(steepened(steepened(row))), rtol=0, atol=1e-5)
    for other in (steepened(row), steepened(steepened(steepened(row)))):
        assert (sharp - torch.tensor(other)).abs().max() > 0.01


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3, 3, 300, 500), (256, 427)),
        ((3, 3, 411, 301), (350, 256)),
        ((2, 3, 45, 81), (45, 81)),
        ((1, 3, 40, 40), (40, 40)),
        ((5, 3, 2, 3), (2, 3)),
        ((3, 3, 7, 100), (7, 100)),
    ],
)
def test_any_clip_has_depth_between_0_and_1(shape, expected):
    frames = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for clip in (frames, torch.zeros(shape), torch.ones(shape)):
        depth = MotionDepth()(clip)
        assert depth.shape == (shape[0], 1, *expected)
        assert depth.isfinite().all()
        assert depth.min() >= 0
        assert depth.max() <= 1


def test_depth_is_reproducible_on_any_number_of_threads():
    frames, _ = scene(pan=1, own=2)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        first = MotionDepth()(frames)
        torch.set_num_threads(3)
        assert torch.equal(MotionDepth()(frames), first)
    finally:
        torch.set_num_threads(threads)


def test_depth_does_not_depend_on_the_memory_format_of_the_frames():
    frames, _ = scene(pan=1, own=2, frames=4)
    other = frames.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(MotionDepth()(frames), MotionDepth()(other))
