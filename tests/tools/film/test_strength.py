import numpy as np
import pytest
import torch

from pack.film_depth import DepthOptions, open_depth
from pack.video.grey import frame_times
from pack.video.reader import probe
from tests.support.media.films import Brightness
from tests.support.media.shot_films import make_shots
from tools.film.strength import DEGREE, STRONGEST, WEAKEST, choose_strength, quantile
from tools.film.survey import survey
from tools.film.work import Work

EVEN = [1 / 32] * 32


def test_a_quantile_is_linear_within_its_class():
    assert quantile(EVEN, 0.05) == pytest.approx(0.05) and quantile(EVEN, 0.95) == pytest.approx(0.95)
    assert quantile([0, 0, 1, 0], 0.5) == pytest.approx(0.625)


def test_what_is_flat_gets_more_and_what_moves_less():
    usual, flat = choose_strength(EVEN, 0), choose_strength([0] * 12 + [1 / 8] * 8 + [0] * 12, 0)
    assert usual.divergence == pytest.approx(2.22) and "spreads over 90 %" in usual.why
    assert flat.divergence == STRONGEST and "most that is used" in flat.why
    moving = choose_strength(EVEN, 2.0)
    assert moving.divergence == pytest.approx(DEGREE / 2, abs=0.01) and "changes by 200 % per second" in moving.why
    assert choose_strength(EVEN, 100).divergence == WEAKEST


@pytest.mark.parametrize("near", [0.0, 1.0])
def test_no_part_of_a_shot_exceeds_one_degree(near):
    shares = np.eye(32)[round(31 * near)]
    found = choose_strength(list(shares), 0)
    assert found.divergence * 0.5 <= DEGREE and found.divergence <= STRONGEST


def test_the_depth_of_each_shot_is_scaled_about_the_screen_and_changes_at_cuts_alone(tmp_path):
    film = make_shots(tmp_path / "film.mkv", shots=3, length=8)
    shots = survey(Work(tmp_path / "work"), probe(film), Brightness(), "x", torch.device("cpu"), automatic=True)
    plain = survey(Work(tmp_path / "plain"), probe(film), Brightness(), "x", torch.device("cpu"))
    ours, whole = (
        open_depth(str(tmp_path / name / "depth"), probe(film), DepthOptions()) for name in ("work", "plain")
    )
    assert all(shot.why and WEAKEST <= shot.divergence <= STRONGEST for shot in shots)
    assert not any(shot.divergence for shot in plain) and ours.mapper == "none"
    for number, time in enumerate(frame_times(film)):
        scale = shots[number // 8].divergence / STRONGEST
        expected = 0.5 + scale * (whole.read([time]) - 0.5)
        assert np.abs(ours.read([time]) - expected).max() < 1e-4
