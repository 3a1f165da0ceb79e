"""The time that a conversion takes is estimated from its first frames."""

from tools.synthesis import pace
from tools.synthesis.pace import FIRST, Pace


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
