"""Black bars are kept out of depth and warp, and both eyes have them again as they were."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from pack.holes.mappers import mapper
from pack.video.bars import NO_BARS, Bars
from pack.video.shot_reader import Shot, read_shots
from tests.support.media.videos import joined, moving, write
from tools.synthesis.conversion import Converter
from tools.synthesis.views import Geometry, ShotState

HEIGHT, WIDTH = 80, 96


class Slope:
    """Nearness that grows to the right; it remembers the sizes of the frames that it saw."""

    metric = False

    def __init__(self):
        self.seen = set()

    def __call__(self, frames):  # (T 3 H W) -> (T 1 H W)
        self.seen.add(tuple(frames.shape[-2:]))
        return torch.linspace(0, 1, frames.shape[-1]).expand(len(frames), 1, *frames.shape[-2:]).contiguous()


def both_eyes(shot, divergence=8):
    """(left, right) pictures uint8 (H W 3) of each frame, and the sizes that the depth model saw."""
    model, geometry = Slope(), Geometry(divergence, 0.5, mapper("none"))
    fill = lambda frames, holes: frames  # noqa: E731
    converter = Converter(
        model, [fill], geometry, lambda lefts, rights: torch.stack((lefts[0], rights[0])), torch.device("cpu")
    )
    pictures = [
        (255 * eyes).round().byte().permute(0, 2, 3, 1).numpy()
        for _, eyes, _ in converter._pictures([(shot, ShotState())])
    ]
    return pictures, model.seen


def pictures(bars, count=30):
    """Noise between bars, with subtitles in the lower one."""
    gen = np.random.default_rng(0)
    for n in range(count):
        whole = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        content = bars.crop(whole)
        content[:] = gen.integers(60, 255, content.shape)
        if bars.bottom:
            whole[-6:-3, 30:60:2] = 235
        yield Fraction(n, 25), whole


@pytest.mark.parametrize("bars", [Bars(12, 14), Bars(0, 0, 16, 16), Bars(6, 6, 8, 8), NO_BARS])
def test_both_eyes_have_the_bars_as_they_were_and_the_picture_moves_between_them(bars):
    sources = [picture for _, picture in pictures(bars)]
    eyes, seen = both_eyes(Shot(iter(pictures(bars)), bars))
    assert seen == {bars.crop(sources[0]).shape[:2]} and len(eyes) == len(sources)
    for (left, right), source in zip(eyes, sources, strict=True):
        assert np.array_equal(left, source)
        outside = np.ones(source.shape[:2], bool)
        bars.crop(outside)[:] = False
        assert np.array_equal(right[outside], source[outside])
        assert not np.array_equal(bars.crop(right), bars.crop(source))


def test_the_picture_moves_as_far_between_bars_as_without():
    """Divergence is a share of the whole width."""

    def shift(bars):
        gradient = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        content = bars.crop(gradient)
        content[:] = 100 + np.arange(content.shape[1])[:, None]
        ((_, right), *_), _ = both_eyes(Shot(iter([(Fraction(0), gradient)] * 1), bars))
        moved = bars.crop(right)[20, :, 0].astype(int) - content[20, :, 0]
        return np.abs(moved[bars.crop(right)[20, :, 0] > 0]).max()

    assert abs(shift(Bars(0, 0, 16, 16)) - shift(NO_BARS)) <= 1


def test_a_films_shots_know_their_bars_also_those_that_scaling_adds(tmp_path):
    first = write(tmp_path / "a.h264", moving(20))  # 96 x 64
    second = write(tmp_path / "b.h264", moving(20, size=(128, 128)))
    shots = [(shot.bars, len(list(shot))) for shot in read_shots(joined(tmp_path / "c.h264", first, second))]
    assert shots == [(NO_BARS, 20), (Bars(0, 0, 16, 16), 20)]
