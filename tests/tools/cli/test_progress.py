import io

from tools import cli


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_in_a_log_is_plain_lines():
    out = io.StringIO()
    progress = cli.Progress(10, "records", "packing", every=0, out=out)
    progress.update(5, "of clip.mp4")
    progress.close()
    line = out.getvalue()
    assert line.startswith("packing 5/10 records") and line.endswith("of clip.mp4\n") and "\r" not in line
    assert "left" in line


def test_rate_and_time_left_count_only_what_was_done_since_the_start():
    progress = cli.Progress(100, "records", done=40, out=io.StringIO())
    progress.done = 60
    assert progress.text(10) == "60/100 records, 2.00/s, 20s left"


def test_a_total_that_is_exceeded_is_not_shown():
    progress = cli.Progress(75, "frames", out=io.StringIO())
    progress.done = 100
    assert progress.text(10) == "100 frames, 10.00/s"


def test_without_a_total_no_time_left_is_shown():
    progress = cli.Progress(0, "records", out=io.StringIO())
    progress.done = 20
    assert progress.text(10) == "20 records, 2.00/s"


def test_the_pace_of_slow_work_is_the_time_of_one_unit():
    progress = cli.Progress(6, "scenes", out=io.StringIO())
    progress.done = 2
    assert progress.text(10) == "2/6 scenes, 0.20/s, 20s left"
    assert progress.text(300) == "2/6 scenes, 150 s each, 10m00s left"


def test_a_terminal_is_cleared_at_the_end():
    out = Terminal()
    cli.Progress(10, "records", out=out).close()
    assert out.getvalue() == "\r\x1b[K"


def test_durations_have_two_units():
    assert [cli.duration(s) for s in (5, 190, 7500, 356400)] == ["5s", "3m10s", "2h05m", "4d03h"]
