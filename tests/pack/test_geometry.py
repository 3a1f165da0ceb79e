import math

import numpy as np
import torch
import torchvision.transforms.functional as TF
from torchvision.transforms import InterpolationMode

from pack.geometry import best_window, resize, resized, rotate, transform, windows
from pack.sampling import draw_params, uniform


def waves(t=2, height=90, width=161):  # uint8 (T H W 3), smooth, so that a wrong pixel grid shows
    y, x = np.mgrid[:height, :width].astype(float)
    planes = [np.sin(x / 9 + y / 17 + c + k) + np.cos(y / 11 - c) for k in range(t) for c in range(3)]
    return (np.stack(planes).reshape(t, 3, height, width).transpose(0, 2, 3, 1) * 60 + 128).round().astype(np.uint8)


def planes(frames):  # uint8 (T H W 3) -> float (T 3 H W)
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float()


def test_rotation_equals_torchvisions_followed_by_the_crop_of_the_inner_square():
    for frames in (waves(), waves(height=161, width=90), waves(height=96, width=128)):
        for degrees in (-44, -13.5, 0, 30, 44):
            height, width = frames.shape[1:3]
            side = int(min(height, width) / math.sqrt(2))
            top, left = (height - side) // 2, (width - side) // 2
            turned = TF.rotate(planes(frames), degrees, InterpolationMode.BILINEAR)
            expected = turned[:, :, top : top + side, left : left + side]
            found = rotate(frames, degrees)
            assert found.shape == (2, side, side, 3)
            assert (planes(found) - expected).abs().max() <= 0.51


def test_no_rotation_shows_a_black_corner():
    for height, width in ((90, 160), (91, 160), (160, 91), (64, 64), (65, 65)):
        white = np.full((1, height, width, 3), 255, np.uint8)
        for degrees in range(-45, 46, 5):
            assert rotate(white, degrees).min() == 255


def test_pictures_of_one_line_can_be_rotated():
    assert np.array_equal(rotate(np.full((2, 1, 5, 3), 7, np.uint8), 3.0), np.full((2, 1, 1, 3), 7))


def test_resizing_equals_torchvisions_antialiased_resizing_in_float():
    for mode in ("bicubic", "bilinear"):
        for frames, short_side in ((waves(), 60), (waves(), 135), (waves(height=161, width=90), 72)):
            size = resized(*frames.shape[1:3], short_side)
            expected = TF.resize(planes(frames), size, InterpolationMode(mode), antialias=True).clamp(0, 255)
            assert (planes(resize(frames, short_side, mode)) - expected).abs().max() <= 1.6


def test_the_short_side_is_exact_and_the_long_side_is_rounded_down():
    assert resized(272, 640, 720) == (720, 1694)
    assert resized(1920, 1088, 720) == (1270, 720)
    assert resized(405, 720, 1080) == (1080, 1920)


def test_frames_of_the_right_size_are_unchanged():
    frames = waves()
    assert resize(frames, 90, "bicubic") is frames


def test_a_clip_is_rotated_or_not_as_its_parameters_say():
    shapes = set()
    for clip in range(8):
        params = draw_params(uniform(71, "ab", clip), 161, False, short_sides=(64,))
        frames = transform(waves(), params)
        assert frames.shape[1:3] == ((64, 64) if params.rotation is not None else (64, 114))
        shapes.add(frames.shape)
    assert len(shapes) == 2


def test_the_best_window_is_the_first_one_with_the_most_holes():
    masks = np.zeros((2, 40, 60), np.uint8)
    masks[:, 20:24, 40:50] = 2
    masks[1, 0, 0] = 1
    corners = windows(20, (40, 60), ((0.0, 0.0), (0.999, 0.999), (0.999, 0.999), (0.5, 0.0)))
    assert best_window(masks, 20, corners) == (40, 20, 2 * 40 * 2)
    assert best_window(masks, 20, corners[:1]) == (0, 0, 1)
    assert best_window(masks * 0, 20, corners[1:])[:2] == (40, 20)


def test_windows_lie_inside_the_frame_and_cover_every_position():
    spots = windows(20, (22, 21), [(x / 100, y / 100) for x in range(100) for y in range(100)])
    assert set(spots) == {(x, y) for x in range(2) for y in range(3)}
