import numpy as np
import pytest
import torch

from tests.support.media.films import Brightness, pack
from tests.support.media.shot_films import make_shots
from tests.tools.film.test_certificate import shots
from tools.film.calibration import calibrate, errors_of, fit, predict, spearman
from train.evaluation.fills import replicate

CPU = torch.device("cpu")


def test_weights_are_found_again_and_none_is_negative():
    random = np.random.default_rng(0)
    found = random.uniform(0, 20, (500, 3))
    errors = 2 + found @ np.array([0.5, 0.0, 0.3])
    assert np.allclose(fit(found, errors), [2, 0.5, 0, 0.3], atol=1e-6)
    shrinking = fit(found, errors - 0.4 * found[:, 1])  # that a hole is wide never makes its fill better
    assert shrinking[2] == 0 and shrinking[1:].min() >= 0 and shrinking[1] == pytest.approx(0.5, abs=0.05)
    assert np.allclose(predict(np.array([1.0, 0, 0, 0]), found), 1)


def test_ranks_that_agree_correlate_and_equal_values_share_theirs():
    values = np.array([1.0, 2, 2, 3, 9])
    assert spearman(values, values**3) == pytest.approx(1) and spearman(values, -values) == pytest.approx(-1)
    assert spearman(np.array([1.0, 2, 2, 3]), np.array([1.0, 2, 3, 4])) == pytest.approx(0.9487, abs=1e-4)
    assert np.isnan(spearman(values, np.ones(5)))


def test_the_errors_of_a_record_are_those_of_the_middle_frames():
    frames = np.full((16, 8, 40, 3), 100, np.uint8)
    frames[8, 2, 11] = 130
    masks = np.zeros((16, 8, 40), np.uint8)
    masks[:, 2, 10:14] = 255
    found, errors = errors_of(frames, masks, replicate, CPU)
    assert found.shape == (6 * 4, 3) and errors.shape == (6 * 4,)
    assert sorted(errors)[-2:] == pytest.approx([0, 30], abs=1e-3)
    assert found[:, 0] == pytest.approx(10) and not found[:, 1].any()  # both fills are the same


def test_held_out_shots_tell_how_well_errors_are_expected(tmp_path, monkeypatch):
    monkeypatch.setattr("pack.workers.load_depth", Brightness)
    film = make_shots(tmp_path / "film.mkv", shots=4, length=16, size=(96, 96))
    words = ("--video", film, "--short-sides", 96, "--size", 96, "--divergence", 18, "--no-rotate", "--mapper", "none")
    pack(tmp_path / "eval", *words, "--skip-interval", 0, "--device", "cpu", "--holes", "forward")

    def fill(frames, holes):  # the wider a hole is, the worse
        noise = torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
        return torch.where(holes, (replicate(frames, holes) + 0.1 * noise).clamp(0, 1), frames)

    found = calibrate(tmp_path / "eval", shots(16, 16, 16, 16), fill, "base", CPU)
    assert found is not None and found.shots >= 3 and found.confidence.network == "base"
    assert [expected for expected, _ in found.curve] == sorted(expected for expected, _ in found.curve)
    assert min(found.confidence.weights[1:]) >= 0 and found.pixels > 100
    assert "rank correlation of expected and measured error" in str(found)
    assert calibrate(tmp_path / "eval", shots(32, 32), fill, "base", CPU) is None  # of two shots
