import shutil

import numpy as np
import pytest
import torch

from pack.film_depth import DepthOptions, open_depth
from pack.video.grey import frame_times
from pack.video.reader import probe
from tests.support.media.films import Brightness
from tests.support.media.shot_films import make_shots
from tools.film.held import LEAST, LIMIT, hold_back
from tools.film.strength import SCREEN
from tools.film.survey import survey
from tools.film.work import Work
from tools.synthesis.confidence import Confidence

CPU = torch.device("cpu")
TRUST = Confidence((1.0, 0, 0, 0), "base")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make_shots(tmp_path_factory.mktemp("film") / "film.mkv", shots=3, length=8)


def test_shots_whose_fills_are_poor_are_held_back_and_the_others_stay(film, tmp_path, monkeypatch):
    work = Work(tmp_path / "work")
    shots = survey(work, probe(film), Brightness(), "x", CPU, automatic=True)
    expected = {0: LIMIT / 2, 1: 1.25 * LIMIT, 2: 9 * LIMIT}
    monkeypatch.setattr("tools.film.held.expected_errors", lambda *_: expected)
    for again in (False, True):
        held, folder = hold_back(work, shots, TRUST, None, CPU)
        assert folder == work.held and held[0] == shots[0]
        assert held[1].divergence == pytest.approx(0.8 * shots[1].divergence, abs=0.01)
        assert held[2].divergence == pytest.approx(LEAST * shots[2].divergence, abs=0.01)
        assert "are expected to be off by 38 of 255 levels (2.08 before: " in held[1].why
        before, now = (open_depth(str(path), probe(film), DepthOptions()) for path in (work.depth, work.held))
        for number, time in enumerate(frame_times(film)):
            share = (1, 0.8, LEAST)[number // 8]
            away = SCREEN + share * (before.read([time]) - SCREEN)
            assert np.abs(now.read([time]) - away).max() < 1e-4
        if not again:  # a second run changes nothing; what a killed one left is made again
            stamps = {path.name: path.stat().st_mtime_ns for path in (work.held / "depth").iterdir()}
        else:
            assert stamps == {path.name: path.stat().st_mtime_ns for path in (work.held / "depth").iterdir()}
    (work.held / "iw3_export.yml").unlink()
    shutil.rmtree(work.held / "depth")
    hold_back(work, shots, TRUST, None, CPU)
    assert len(list((work.held / "depth").iterdir())) == 24


def test_nothing_is_held_back_where_fills_are_trusted(film, tmp_path, monkeypatch):
    work = Work(tmp_path / "work")
    shots = survey(work, probe(film), Brightness(), "x", CPU, automatic=True)
    monkeypatch.setattr("tools.film.held.expected_errors", lambda *_: {0: 3.0})
    assert hold_back(work, shots, TRUST, None, CPU) == (shots, work.depth)
    assert not work.held.exists()
