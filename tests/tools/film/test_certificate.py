import math
from dataclasses import replace

import pytest

from tools.film.certificate import Certificate, gain, shot_means
from tools.film.survey import Shot, shot_of


def shots(*lengths):
    firsts = [sum(lengths[:n]) for n in range(len(lengths))]
    return [Shot(f, n, f / 25, 0.0, 0, 0.0, None, ()) for f, n in zip(firsts, lengths, strict=True)]


def certificate(*gaps):
    by_shot = {n: {"base": 25.0, "tuned": 25.0 + gap, "telea": 24.0} for n, gap in enumerate(gaps)}
    pairs = (("tuned", "base"), ("tuned", "telea"), ("base", "telea"))
    return Certificate("base", "tuned", "telea", {}, *(gain(by_shot, *pair) for pair in pairs), by_shot, apart=True)


def test_the_interval_is_that_of_students_t():
    found = certificate(0.1, 0.2, 0.3).against_start
    assert found.mean == pytest.approx(0.2)
    assert found.high - found.mean == pytest.approx(4.303 * 0.1 / math.sqrt(3))
    assert certificate(0.5).against_start.low == -math.inf


def test_the_tuned_network_is_used_only_if_its_gain_is_certain():
    sure, unsure, worse = certificate(0.5, 0.6, 0.4, 0.5), certificate(1.5, -0.2, 0.1), certificate(-0.5, -0.6, -0.4)
    assert sure.is_better and "the tuned network is used: it gains +0.50 dB [+0.37, +0.63]" in sure.verdict()
    assert not unsure.is_better and "the start is used: tuning changed +0.47 dB [" in unsure.verdict()
    assert not worse.is_better and "-0.50 dB" in worse.verdict()


def test_shots_count_once_however_many_clips_they_have():
    frames = {"a": 0, "b": 10, "c": 25, "d": 40}
    clips = [
        {"key": key, "measures": {"x": {"hole_psnr": value}, "y": {"hole_psnr": None if key == "d" else 1.0}}}
        for key, value in zip("abcd", (1.0, 3.0, 10.0, 99.0), strict=True)
    ]
    found = shot_means(clips, frames, shots(20, 10, 30), ["x", "y"])
    assert found == {0: {"x": 2.0, "y": 1.0}, 1: {"x": 10.0, "y": 1.0}}


def test_a_frame_belongs_to_the_shot_around_it():
    assert [shot_of(shots(20, 10, 30), frame) for frame in (0, 19, 20, 29, 30, 59, 60)] == [0, 0, 1, 1, 2, 2, 2]


def test_a_gain_on_the_shots_that_chose_the_network_says_that_it_is_flattered():
    for found in (certificate(0.5, 0.6, 0.4), certificate(1.5, -0.2, 0.1)):
        assert "flatters" in replace(found, apart=False).verdict() and "flatters" not in found.verdict()
