"""The program that compares rankings reads what the two evaluations write."""

import json
import runpy
import sys

import pytest

from tests.support.documents import ROOT

FILLS = ("base", "flow", "replicate", "telea")
KEPT_OUT = {"untrained": 1.0, "base streamed": 99.0, "left eye": 1.0}  # of no ranking


def mean(value):
    return {"mean": value, "low": value, "high": value}


def ordinary(values):
    """metrics.json of `make evaluate`, as far as it is read."""
    return {"methods": {name: {"means": {"hole_psnr": mean(value)}} for name, value in values.items()}}


def rendered(values, depth):
    """The cases of metrics.json of `make evaluate-stereo` for one depth."""
    return [
        {"depth": depth, "warp": "monobw", "fill": name, "means": {"uncovered_psnr": mean(value)}}
        for name, value in values.items()
    ]


def test_rankings_of_both_evaluations_are_compared_over_the_fills_that_all_have(tmp_path, monkeypatch, capsys):
    scores = dict(zip(FILLS, (28.0, 27.0, 22.0, 25.0), strict=True))
    reversed_scores = {name: -value for name, value in scores.items()}
    cases = rendered(scores | KEPT_OUT, "exact") + rendered(reversed_scores | KEPT_OUT, "degraded")
    folders = {"a": ordinary(scores | KEPT_OUT | {"mirror": 20.0}), "b": {"cases": cases, "methods": {}}}
    for name, found in folders.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(found))
    monkeypatch.setattr(sys, "path", list(sys.path))
    program = runpy.run_path(str(ROOT / "docs/rank_correlation.py"))
    monkeypatch.setattr(sys, "argv", ["rank_correlation.py", *(str(tmp_path / name) for name in folders)])
    program["main"]()
    head, *rows = capsys.readouterr().out.splitlines()
    assert head == f"4 fills: {', '.join(FILLS)}"
    assert [row.split("  ")[0].split(",")[0] for row in rows] == ["a", "b", "b"]
    numbers = [[float(word) for word in row.split()[-3:]] for row in rows]
    assert numbers == [pytest.approx(row) for row in ([1, 1, -1], [1, 1, -1], [-1, -1, 1])]
