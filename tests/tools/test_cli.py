import dataclasses
import io
import subprocess
import sys
from typing import ClassVar, Literal

import pytest

from tools import cli


@dataclasses.dataclass(frozen=True)
class Example:
    """Does nothing."""

    ALIASES: ClassVar = {"data_dir": ("-o",)}
    data_dir: str = "data"  # where it goes, 100% of it
    batch_size: int = 2  # frames at once,
    # which must divide seq
    rate: float = 1e-4
    kind: Literal["webp", "png"] = "webp"  # image format
    resume: bool = False  # go on
    limit: int | None = None  # most records
    video: tuple[str, ...] = ()  # files

    def __post_init__(self):
        if self.batch_size < 1:
            raise ValueError(f"--batch-size {self.batch_size}: expected 1 or more")


def fails_with(capsys, *argv):
    with pytest.raises(SystemExit) as ended:
        cli.parse(Example, list(argv))
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


def test_flags_have_the_types_of_their_fields():
    words = "-o out --batch_size=4 --rate 0.1 --kind png --resume --limit 3 --video a.mp4 007".split()
    assert cli.parse(Example, words) == Example("out", 4, 0.1, "png", True, 3, ("a.mp4", "007"))


def test_without_flags_every_field_has_its_default():
    assert cli.parse(Example, []) == Example()


def test_a_mistyped_flag_is_refused_with_the_nearest_name(capsys):
    assert "did you mean --batch-size?" in fails_with(capsys, "--batch-sise", "3")


@pytest.mark.parametrize(
    "words", [["--batch-size", "x"], ["--kind", "gif"], ["--batch-size", "0"], ["--vid", "a"], ["stray"]]
)
def test_a_wrong_value_is_one_line_and_status_2(capsys, words):
    fails_with(capsys, *words)


def test_help_shows_comment_and_default(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.parse(Example, ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert "where it goes, 100% of it (default: data)" in text
    assert "frames at once, which must divide seq (default: 2)" in text


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        ("ValueError('a\\nb')", "error: a b\n"),
        ("FileNotFoundError(2, 'No such file', 'x.mp4')", "error: No such file: x.mp4\n"),
    ],
)
def test_a_user_error_becomes_one_line_and_status_2(raised, line):
    code = f"from tools import cli\ndef main():\n    raise {raised}\ncli.run(main)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, line)


def test_progress_in_a_log_is_plain_lines():
    out = io.StringIO()
    progress = cli.Progress(10, "records", "packing", every=0, out=out)
    progress.update(5)
    progress.close()
    line = out.getvalue()
    assert line.startswith("packing 5/10 records") and line.endswith("\n") and "\r" not in line
    assert "left" in line


def test_durations_read_well():
    assert [cli.duration(s) for s in (5, 190, 7500, 356400)] == ["5s", "3m10s", "2h05m", "4d03h"]
