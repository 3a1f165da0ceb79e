"""The time that a conversion takes is estimated from its first frames."""

from fractions import Fraction

import numpy as np
import pytest

from pack.video.output.encoder import Encoding
from pack.video.shot_reader import Shot
from tools.synthesis import pace
from tools.synthesis.pace import FIRST, TRIAL, Pace, expectation, trial


def test_after_the_first_frames_a_line_says_how_long_the_rest_takes(monkeypatch, capsys):
    seconds = iter(range(0, 10**6, 2))
    monkeypatch.setattr(pace.time, "monotonic", lambda: 0.0)
    with Pace(1000, "a.mp4") as shown:
        shown.show(201)  # 200 were done before
        monkeypatch.setattr(pace.time, "monotonic", lambda: float(next(seconds) + 2))
        for frames in range(202, 201 + FIRST):
            shown.show(frames)
        assert capsys.readouterr().out == ""
        monkeypatch.setattr(pace.time, "monotonic", lambda: 96.0)
        shown.show(201 + FIRST)
    assert capsys.readouterr().out == "  0.50 frames/s: about 25m02s left\n"


def test_a_film_of_unknown_or_small_length_gets_no_such_line(capsys):
    for total in (0, FIRST):
        with Pace(total, "a.mp4") as shown:
            for frames in range(1, 3 * FIRST):
                shown.show(frames)
    assert capsys.readouterr().out == ""


class SlowConverter:
    """Takes a second for each frame, and 100 more at first."""

    errors = None

    def __init__(self):
        self.clock, self.converted = 0.0, []

    def convert(self, parts, shots, seconds, show):
        frames = [picture for shot in shots for picture in shot]
        self.clock += len(frames) + (0 if self.converted else 100)
        self.converted.append(len(frames))
        parts.write(*frames[0])
        parts.finish({}, complete=True)


@pytest.mark.parametrize("frames, runs", [(10**5, 2), (0, 2), (20, 1)])
def test_a_trial_tells_the_rate_without_what_only_the_first_run_takes(tmp_path, monkeypatch, frames, runs):
    made, read = SlowConverter(), []

    def shots():
        for shot in range(20):
            numbers = range(5 * shot, 5 * shot + 5)
            yield Shot((Fraction(n, 25), np.full((16, 16, 3), read.append(n) or n, np.uint8)) for n in numbers)

    monkeypatch.setattr(pace.time, "monotonic", lambda: made.clock + len(read))
    monkeypatch.setattr(pace, "replace", lambda converter, errors: converter)
    monkeypatch.setattr(pace, "BRIEF", 1000)
    monkeypatch.setattr(pace.tempfile, "tempdir", str(tmp_path))
    rate = trial(made, shots(), Encoding(), 25, frames)
    assert rate == pytest.approx(1 / 2 if runs == 2 else 1 / (1 + 112 / 12))  # a second for reading, one for the rest
    assert made.converted == [TRIAL] * runs and read == list(range(TRIAL))
    assert not list(tmp_path.iterdir())


def test_the_length_of_a_film_may_be_unknown():
    assert expectation(0.5, 7200) == "  0.50 frames/s: about 4h00m left"
    assert expectation(0.5, 0) == "  0.50 frames/s: the film does not say how long it is"


@pytest.mark.parametrize("frames, said", [(29, "  less than a minute left"), (30, "  0.50 frames/s: about 1m00s left")])
def test_of_a_short_conversion_is_told_what_holds_although_its_first_frames_took_longer(frames, said):
    assert expectation(0.5, frames) == said
