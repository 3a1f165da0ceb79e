import math

from PIL import Image

from tests.tools.film.test_certificate import certificate, shots
from tools.evaluation.plots import agreement, nice_step
from tools.film.calibration import Calibration
from tools.film.page import write_page
from tools.synthesis.confidence import Confidence

CURVE = [(1.0, 2.0), (5.0, 4.0), (20.0, 31.0)]
KNOWN = Calibration(Confidence((1.0, 0.1, 0.2, 0.3), "base"), CURVE, 0.5, 0.75, 900, 12, 4)


def page(folder, found, calibration=None, pictures=(), reason="the start is used: tuning changed nothing"):
    path = folder / "film.certificate.html"
    write_page(path, "a <b>.mkv", found, reason, calibration, {"film": "a <b>.mkv"}, shots(*[20] * 9), pictures)
    return path.read_text()


def test_a_page_needs_no_other_file_and_escapes_names(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "film.fills.png")
    text = page(tmp_path, certificate(0.5, 0.6, 0.4), KNOWN, [tmp_path / "film.fills.png"])
    assert "a &lt;b&gt;.mkv" in text and "<b>.mkv" not in text
    assert "src='data:image/png;base64," in text and "href" not in text
    for title in ("Did tuning help?", "By method", "By shot", "How far can fills be trusted?", "The largest fills"):
        assert f"<h2>{title}" in text
    assert "0.50 over pixels, 0.75 over 12 records of 4 held-out shots" in text


def test_without_a_certificate_the_page_says_why(tmp_path):
    text = page(tmp_path, None, reason="the start is used: found 2 shots, too few to hold 3 out")
    assert "The start is used: found 2 shots, too few to hold 3 out." in text
    assert "Did tuning help?" not in text and "trusted" not in text and "<img" not in text


def test_a_single_shot_has_no_interval_that_could_be_drawn(tmp_path):
    found = certificate(0.5)
    assert found.against_start.low == -math.inf
    text = page(tmp_path, found)
    assert "nan" not in text.replace("[-inf, +inf]", "") and "Infinity" not in text


def test_a_curve_is_drawn_beside_the_line_of_right_expectations():
    drawn = agreement(CURVE, "expected", "measured")
    assert drawn.count("<circle") == len(CURVE) and drawn.count("<polyline") == 1 and "stroke-dasharray" in drawn
    assert "NaN" not in drawn and agreement([(0.0, 0.0)], "a", "b").count("<circle") == 1
    assert [nice_step(high) for high in (0.9, 5, 43, 255)] == [0.2, 1, 10, 50]
