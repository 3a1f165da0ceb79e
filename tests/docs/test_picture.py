"""The program that draws the picture of the READMEs works on any records."""

import runpy
import sys

from PIL import Image

from tests.support.documents import ROOT
from tests.support.shards import make_split

LARGEST = 400_000  # bytes of a picture in a repository that everybody clones


def test_the_picture_has_a_row_for_each_record_and_a_column_for_each_label(tmp_path, monkeypatch):
    split = make_split(tmp_path / "split", records=2, shards=1)
    monkeypatch.setattr(sys, "path", list(sys.path))
    program = runpy.run_path(str(ROOT / "docs/picture.py"))
    settings = program["main"].__globals__
    settings |= {"TILE": 64, "OUT": tmp_path / "fill.webp"}
    monkeypatch.setattr(sys, "argv", ["picture.py", str(split), "test_0_0", "test_1_0"])
    program["main"]()
    with Image.open(settings["OUT"]) as picture:
        columns, rows = len(settings["LABELS"]), 2
        step = 64 + settings["GAP"]
        assert picture.size == (columns * step - settings["GAP"], settings["LABEL"] + rows * step - settings["GAP"])


def test_the_picture_is_small():
    assert (ROOT / "docs/fill.webp").stat().st_size < LARGEST
