"""The means and intervals of an evaluation."""

import math

import numpy as np
import pytest

from tools.evaluation.summary import Interval, Rows, interval


def test_an_interval_narrows_with_clips_and_covers_the_mean():
    values = np.random.default_rng(0).normal(3, 1, 400)
    few, many = interval(values[:20], 0), interval(values, 0)
    assert few.low < few.mean < few.high and many.high - many.low < 0.5 * (few.high - few.low)
    assert many.high - many.low == pytest.approx(2 * 1.96 / math.sqrt(400), rel=0.15)
    assert interval(values, 0) == many


def test_paired_differences_are_significant_where_separate_intervals_overlap():
    clips = np.random.default_rng(0).normal(20, 5, 30)
    rows = Rows({"a": [{"hole_psnr": v + 0.5} for v in clips], "b": [{"hole_psnr": v} for v in clips]}, [{}] * 30)
    assert rows.mean("a", "hole_psnr").low < rows.mean("b", "hole_psnr").high
    difference = rows.difference("a", "b", "hole_psnr")
    assert difference.low == pytest.approx(0.5) and difference.high == pytest.approx(0.5)
    assert rows.best(["a", "b"], "hole_psnr") == "a" and rows.best(["a", "b"], "hole_mae") is None


def test_clips_that_lack_a_measure_do_not_count():
    rows = Rows({"a": [{"x": 1.0}, {}, {"x": math.nan}]}, [{"video": "u"}, {"video": "v"}, {"video": "v"}])
    found = rows.mean("a", "x")
    assert (found.mean, found.clips) == (1, 1) and math.isnan(found.low)
    assert isinstance(rows.mean("a", "x", {"video": "v"}), Interval) and rows.mean("a", "x", {"video": "v"}).clips == 0
