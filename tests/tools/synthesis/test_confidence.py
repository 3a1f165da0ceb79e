import numpy as np
import pytest
import torch
from PIL import Image

from pack.video.bars import Bars
from tools.cli import MissingFile, UserError
from tools.synthesis.confidence import Confidence, ErrorMaps, Filled, features, load_confidence

WEIGHTS = Confidence((1.0, 0.5, 0.25, 0.125), "base")


def frame(value=0.5, width=40):
    holes = torch.zeros(1, 4, width, dtype=torch.bool)
    holes[0, 1, 10:14] = holes[0, 1, 20:28] = holes[0, 3, -2:] = True
    return Filled(torch.full((3, 4, width), value), holes)


def test_features_are_the_width_the_spread_and_the_change_of_filled_pixels():
    now, before = frame(0.5), frame(0.4)
    before.holes[0, 1, 20:24] = False  # seen in the frame before, so nothing is known of the change
    width, spread, change = features(now, torch.full((3, 4, 40), 0.3), before)
    assert width[1, 12] == pytest.approx(10) and width[1, 25] == pytest.approx(20) and width[3, 39] == pytest.approx(5)
    assert spread[1, 12] == pytest.approx(51, abs=1e-3) and change[1, 12] == pytest.approx(25.5, abs=1e-3)
    assert change[1, 22] == 0 and change[1, 25] > 0
    assert not any(one[~now.holes[0]].any() for one in (width, spread, change))
    assert not features(now, now.frame, None)[1:].any()


def test_the_expected_error_is_a_weighted_sum_within_holes():
    now = frame()
    found = features(now, torch.full((3, 4, 40), 0.3), frame(0.4))
    error = WEIGHTS.expected(found, now.holes)
    assert error[1, 12] == pytest.approx(1 + 5 + 51 / 4 + 25.5 / 8, abs=1e-3)
    assert not error[~now.holes[0]].any()
    assert Confidence((1e6, 0, 0, 0), "").expected(found, now.holes).max() == 255


def test_a_calibration_is_read_as_it_was_written_and_damage_is_one_line(tmp_path):
    path = tmp_path / "confidence.json"
    with pytest.raises(MissingFile, match=r"no such file, expected a confidence\.json of make film"):
        load_confidence(path)
    WEIGHTS.save(path)
    assert load_confidence(path) == WEIGHTS
    for text in ("{", "[]", '{"version": 1, "weights": [1, 2], "network": ""}', '{"version": 9, "weights": [1,2,3,4]}'):
        path.write_text(text)
        with pytest.raises(UserError, match="is not a calibration of make film"):
            load_confidence(path)


def test_maps_are_grey_pictures_of_whole_frames_and_know_nothing_of_what_was_before_a_cut(tmp_path):
    maps, simple = ErrorMaps(tmp_path / "o.errors", WEIGHTS), torch.full((3, 4, 40), 0.3)
    maps.write(0, frame(0.4), simple)
    maps.write(1, frame(0.5), simple, Bars(top=2, left=1))
    maps.begin()
    maps.write(2, frame(0.5), simple)
    first, second, third = (np.asarray(Image.open(tmp_path / f"o.errors/{n:08d}.png")) for n in range(3))
    assert first.dtype == np.uint8 and first.shape == (4, 40) and second.shape == (6, 41)
    assert second[3, 13] == round(1 + 5 + 51 / 4 + 25.5 / 8) and not second[:2].any() and not second[:, 0].any()
    assert third[1, 12] == round(1 + 5 + 51 / 4)
