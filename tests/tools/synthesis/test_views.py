"""The second eye of a film: its holes, and the queue of 12 frames that fills them."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from model.light_video_inpaint import LightVideoInpaint
from pack.depth.models import load_depth
from pack.film_depth import FilmDepth
from pack.holes.mappers import mapper
from pack.video.grey import frame_times
from pack.video.reader import read_frames
from tests.pack.holes.test_forward import golden_depth
from tests.support.golden_formulas import fill, video
from tests.support.media.depth_files import nearness
from tests.support.media.stereo_films import clip_with_sound, pictures
from tools.evaluation.baselines import BASELINES
from tools.synthesis.views import Geometry, paint, see, windows, with_depth

GOLDEN = np.load("tests/golden/stream_B_17.npz")
PLAIN = Geometry(4, 0.5, mapper("none"), edge_dilation=0)


def seen(count, how=PLAIN):
    """Views of the golden film: drifting boxes before drifting colours."""
    depth, frames = golden_depth("boxes"), video(count, 96, 160)
    return [see(Fraction(t), frames[t : t + 1], depth.roll(t, -1), how) for t in range(count)]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return clip_with_sound(tmp_path_factory.mktemp("film") / "film.mp4")


@pytest.mark.slow
def test_a_film_comes_out_as_from_iw3_in_the_same_turns():
    network = LightVideoInpaint().eval()
    fill(network.state_dict().items())
    taken, turns, out = 0, [0] * 18, []

    def counted():
        nonlocal taken
        for view in seen(17):
            taken += 1
            yield view
        taken += 1  # the flush

    for _, (filled,) in paint(counted(), [network.infer]):
        turns[taken - 1] += 1
        out.append(filled)
    assert turns == GOLDEN["emitted"].tolist()
    out = torch.stack(out)
    np.testing.assert_allclose(out[..., ::4, ::4], GOLDEN["out_s"], atol=2e-5)
    assert [out.mean(), out.std(), out.min(), out.max()] == pytest.approx(GOLDEN["stats"][:4].tolist(), abs=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5, 6, 8, 9, 12, 15, 31])
def test_every_frame_leaves_the_queue_once_in_order_and_soon(count):
    views = [replace(seen(1)[0], seconds=Fraction(t)) for t in range(count)]
    taken, left = 0, []

    def counted():
        nonlocal taken
        for view in views:
            taken += 1
            yield view

    for view, filled in paint(counted(), [BASELINES["empty"], BASELINES["replicate"]]):
        assert len(filled) == 2 and taken - len(left) <= 9
        left.append(view.seconds)
    assert left == list(range(count))


@pytest.mark.parametrize("count", [1, 3, 16, 17, 20, 21, 50])
def test_windows_keep_every_item_once_between_its_neighbours(count):
    kept = []
    for held, part in windows(range(count), 16, 4):
        assert held == list(range(held[0], held[-1] + 1)) and len(held) <= 24
        assert part.start == min(4, held[part.start]) and (held[-1] + 1 == count or part.stop + 4 == len(held))
        kept += held[part]
    assert kept == list(range(count))


def test_depth_that_starts_anew_in_every_window_does_not_jump():
    def moody(frames):  # another offset in each window, a quarter of the whole range
        moody.calls += 1
        return frames.mean(1, keepdim=True) + 0.09 * (moody.calls % 2)

    moody.calls = 0
    frame = np.tile(np.arange(96, dtype=np.uint8)[None, :, None], (8, 1, 3))
    depth = torch.cat([one.nearness for one in with_depth(((Fraction(t), frame) for t in range(60)), moody, "cpu")])
    assert moody.calls == 4 and len(depth) == 60 and depth.min() >= 0 and depth.max() <= 1
    assert depth.diff(dim=0).abs().max() < 0.07


def test_holes_of_the_right_view_lie_right_of_what_is_near():
    view = seen(1)[0]
    near = golden_depth("boxes")[0, 0]
    assert view.holes.any() and not view.right[view.holes.expand(3, -1, -1)].any()
    # the large box moves left by about 0.1 * 8 % / 2 of the width
    assert view.holes[0, 30, 70:90].any() and not view.holes[0, 30, 20:50].any() and near[30, 60] > near[30, 90]


def test_grown_holes_contain_those_that_are_not():
    plain = seen(1, Geometry(4, 0.5, mapper("none"), 0, inner=0, outer=0))[0].holes
    grown = seen(1)[0].holes
    assert (grown | plain).equal(grown) and grown.sum() > plain.sum()


def test_the_offline_depth_model_serves_a_shot_of_any_length():
    model = load_depth("Motion")
    for count in (1, 3):
        shot = [(Fraction(t), p) for t, p in enumerate(pictures(count))]
        assert [one.nearness.shape for one in with_depth(shot, model, "cpu")] == [(1, 1, 64, 96)] * count


def test_depth_that_is_given_keeps_its_range(film):
    times = frame_times(film)
    depth = 0.25 + nearness(film) / 2
    files = FilmDepth(film, "x", False, "", False, True, list(depth), tuple(times), 1, times[0], frozenset())
    shot = list(zip(times, read_frames(film, 10**6), strict=True))
    shown = torch.cat([one.nearness for one in with_depth(shot, files, "cpu", by="given")])
    assert torch.equal(shown[:, 0], torch.from_numpy(depth))
