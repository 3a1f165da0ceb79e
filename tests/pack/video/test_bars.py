"""Black bars are found to the line, where they begin and where they change; what is merely dark is no bar."""

from dataclasses import dataclass

import av
import numpy as np
import pytest

from pack.video.bars import Bars, find_bars
from pack.video.reader import Report, read_clips
from tests.support.media.videos import write

HEIGHT, WIDTH = 144, 192


@dataclass(frozen=True)
class Shown:
    pixels: np.ndarray


def scene(count, size=(HEIGHT, WIDTH), light=1.0, seed=0):
    """Drifting blocks of all brightnesses."""
    height, width = size
    blocks = np.random.default_rng(seed).integers(20, 255, (60, 60, 3)).repeat(8, 0).repeat(8, 1)
    return [(light * blocks[n : n + height, 2 * n : 2 * n + width]).astype(np.uint8) for n in range(count)]


def barred(picture, top=0, bottom=0, left=0, right=0, level=0):
    picture = picture.copy()
    picture[:top], picture[len(picture) - bottom :] = level, level
    picture[:, :left], picture[:, picture.shape[1] - right :] = level, level
    return picture


def found(pictures):
    return [bars for _, bars in find_bars(map(Shown, pictures))]


@pytest.mark.parametrize(
    "bars",
    [
        Bars(),
        Bars(20, 20),
        Bars(0, 0, 24, 24),
        Bars(18, 18, 30, 30),
        Bars(2, 0),
        Bars(0, 3),
        Bars(0, 0, 0, 2),
        Bars(20, 21),
    ],
)
@pytest.mark.parametrize("level", [0, 12])
def test_constant_bars_are_found_to_the_line_from_the_first_frame(bars, level):
    noise = np.random.default_rng(1).integers(0, 6, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    pictures = [np.maximum(barred(p, bars.top, bars.bottom, bars.left, bars.right, level), noise) for p in scene(20)]
    assert set(found(pictures)) == {bars}


def test_bars_that_change_are_followed_to_the_frame():
    wide, full = Bars(20, 20), Bars()
    pictures = (
        [barred(p, 20, 20) for p in scene(20)] + scene(20, seed=1) + [barred(p, 20, 20) for p in scene(20, seed=2)]
    )
    pictures += [barred(p, 8, 8) for p in scene(20, seed=3)]
    assert found(pictures) == 20 * [wide] + 20 * [full] + 20 * [wide] + 20 * [Bars(8, 8)]


def test_bars_are_known_from_the_beginning_of_a_fade_in_and_outlast_a_fade_out_and_a_dark_scene():
    up = [barred(p, 20, 20) for n in range(8) for p in scene(1, light=n / 8)]
    dark = [barred(p, 20, 20) for p in scene(30, light=0.1)]
    down = [barred(p, 20, 20) for n in range(20) for p in scene(1, light=1 - n / 20)]
    black = 30 * [np.zeros((HEIGHT, WIDTH, 3), np.uint8)]
    pictures = up + [barred(p, 20, 20) for p in scene(20)] + dark + down + black
    assert set(found(pictures)) == {Bars(20, 20)}


def night(count):
    """A moon that rises in a black sky above a dark, uneven skyline with a few lit windows."""
    gen = np.random.default_rng(0)
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for x in range(0, WIDTH, 12):
        picture[HEIGHT - int(gen.integers(20, 70)) :, x : x + 12] = 22
    for y, x in zip(gen.integers(110, 140, 30), gen.integers(0, WIDTH - 4, 30), strict=True):
        picture[y : y + 2, x : x + 2] = 200
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for n in range(count):
        now = picture.copy()
        now[(y - 50 + n) ** 2 + (x - 120) ** 2 < 15**2] = 230
        yield now


@pytest.mark.parametrize(
    "pictures",
    [
        scene(40, light=0.08),
        [p for n in range(40) for p in scene(1, light=max(0, 1 - n / 30))],
        40 * [np.zeros((HEIGHT, WIDTH, 3), np.uint8)],
        list(night(40)),
        [np.concatenate([np.zeros_like(p[:60]), p[60:]]) for p in scene(40)],  # a black sky with a level horizon
        [(np.hanning(HEIGHT)[:, None, None] * p * 0.6).astype(np.uint8) for p in scene(40)],  # dark above and below
    ],
    ids=["dark film", "fade to black", "black", "night with a moon", "black sky", "vignette"],
)
def test_what_is_merely_dark_is_no_bar(pictures):
    assert set(found(pictures)) == {Bars()}


def test_subtitles_in_a_bar_do_not_end_it():
    pictures = [barred(p, 20, 20) for p in scene(40)]
    for picture in pictures[10:30]:
        picture[-14:-6, 60:130:3] = 235
    assert set(found(pictures)) == {Bars(20, 20)}


def test_a_dark_scene_that_fills_the_frame_ends_the_bars_of_the_film():
    lights = [p.copy() for p in scene(20, light=0.08)]
    for picture in lights:
        picture[4:12, 20:40], picture[-12:-4, 60:80] = 200, 200
    bars = found([barred(p, 20, 20) for p in scene(20)] + lights)
    assert bars == 20 * [Bars(20, 20)] + 20 * [Bars()]


def test_memory_does_not_grow_with_the_film():
    read = 0

    def endless():
        nonlocal read
        for picture in 20 * scene(10):
            read += 1
            yield Shown(barred(picture, 20, 20))

    for number, _ in enumerate(find_bars(endless()), 1):
        assert read - number < 12


def clips_of(tmp_path, pictures):
    frames = [av.VideoFrame.from_ndarray(p, "rgb24").reformat(format="yuv420p", threads=1) for p in pictures]
    path = write(tmp_path / "a.mkv", frames, options={"crf": "20", "preset": "ultrafast", "threads": "1"})
    return list(read_clips(path, 12, 30, 0, 0, Report()))


def test_clips_are_without_bars_and_end_where_these_change(tmp_path):
    pictures = [barred(p, 20, 20) for p in scene(30)] + [barred(p, 0, 0, 24, 24) for p in scene(30, seed=1)]
    clips = clips_of(tmp_path, pictures)
    assert [(clip.start, clip.frames.shape[1:3]) for clip in clips] == [
        (0, (104, 192)),
        (12, (104, 192)),
        (30, (144, 144)),
        (42, (144, 144)),
    ]
    assert clips[0].bars == Bars(20, 20) and clips[0].whole == (144, 192)
    for clip in clips:
        assert clip.frames[:, 0].mean() > 60 and clip.frames[:, -1].mean() > 60
        assert clip.frames[:, :, 0].mean() > 60 and clip.frames[:, :, -1].mean() > 60


def test_a_map_of_any_size_is_cropped_like_its_picture():
    bars = Bars(20, 20, 24, 24)
    whole = np.zeros((2, 1, 72, 96))
    whole[..., 10:62, 12:84] = 1
    assert bars.crop_map(whole, (HEIGHT, WIDTH)).shape == (2, 1, 52, 72) and bars.crop_map(whole, (HEIGHT, WIDTH)).all()
