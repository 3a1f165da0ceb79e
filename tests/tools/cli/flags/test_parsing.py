import dataclasses
from typing import ClassVar, Literal

import pytest

from tools import cli
from tools.cli import UserError


@dataclasses.dataclass(frozen=True)
class Example:
    """Does nothing."""

    ALIASES: ClassVar = {"data_dir": ("-o",)}
    data_dir: str = "data"  # output folder, 100% of it
    batch_size: int = 2  # frames at once,
    # which must divide seq
    rate: float = 1e-4
    kind: Literal["webp", "png"] = "webp"  # image format
    resume: bool = False  # continue
    limit: int | None = None  # maximum number of records
    video: tuple[str, ...] = ()  # files

    def __post_init__(self):
        if self.batch_size < 1:
            raise UserError(f"--batch-size {self.batch_size}: expected 1 or more")
        if self.batch_size == 13:
            raise ValueError("a bug")


def error_of(capsys, *argv):
    """The one line with which parsing these words ends the program."""
    with pytest.raises(SystemExit) as ended:
        cli.parse(Example, list(argv))
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1
    return message


def help_of(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.parse(Example, ["--help"])
    assert ended.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_flags_have_the_types_of_their_fields():
    words = "-o out --batch_size=4 --rate 0.1 --kind png --resume --limit 3 --video a.mp4 007".split()
    assert cli.parse(Example, words) == Example("out", 4, 0.1, "png", True, 3, ("a.mp4", "007"))


def test_without_flags_every_field_has_its_default():
    assert cli.parse(Example, []) == Example()


def test_a_bool_can_be_switched_off():
    assert cli.parse(Example, ["--resume", "--no-resume"]).resume is False


@pytest.mark.parametrize(
    ("found", "suggested"), [("--batch-sise", "--batch-size"), ("--no-resum", "--no-resume"), ("--hepl", "--help")]
)
def test_the_error_for_an_unknown_flag_suggests_the_nearest_one(capsys, found, suggested):
    assert f"unknown argument {found}, did you mean {suggested}?" in error_of(capsys, found)


@pytest.mark.parametrize(
    "words", [["--batch-size", "x"], ["--kind", "gif"], ["--batch-size", "0"], ["--vid", "a"], ["stray"]]
)
def test_a_wrong_value_is_one_line_and_status_2(capsys, words):
    error_of(capsys, *words)


def test_a_plain_value_error_of_the_configuration_is_not_shown_as_a_user_error():
    with pytest.raises(ValueError, match="a bug"):
        cli.parse(Example, ["--batch-size", "13"])


def test_only_the_first_process_of_a_job_prints_a_mistake(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as ended:
        cli.parse(Example, ["--batch-size", "0"])
    assert ended.value.code == 2 and capsys.readouterr().err == ""


def test_help_shows_comment_and_default(capsys):
    text = help_of(capsys)
    assert "Does nothing." in text
    assert "output folder, 100% of it (default: data)" in text


def test_a_comment_may_continue_on_the_next_line(capsys):
    assert cli.field_comments(Example)["batch_size"] == "frames at once, which must divide seq"
    assert "frames at once, which must divide seq (default: 2)" in help_of(capsys)


AWKWARD = ["001", "1e3", "None", "True", "[1, 2]", "{'a': 1}", "a,b", "", " ", "-", "- upper", "日本 😀", "a=b", "1_0"]


@pytest.mark.parametrize("text", [*AWKWARD, "__import__('os').abort()", "\udcff", "a\nb", "--help"])
def test_a_text_arrives_as_it_was_typed_and_is_never_taken_for_python(text):
    assert cli.parse(Example, [f"--data-dir={text}"]).data_dir == text
    assert cli.parse(Example, ["--video", "--", text, "b"]).video == (text, "b")
    if not text.startswith("--"):
        assert cli.parse(Example, ["--data-dir", text, "--video", text, "b"]).video == (text, "b")


@pytest.mark.parametrize("words", [["-o", "x"], ["-ox"], ["-o=x"], ["--data_dir", "x"], ["--data-dir=y", "-o", "x"]])
def test_a_flag_may_be_written_in_several_ways_and_the_last_one_wins(words):
    assert cli.parse(Example, words).data_dir == "x"


def test_negative_numbers_are_values():
    assert cli.parse(Example, ["--limit", "-3", "--rate", "-1e-3"]) == Example(limit=-3, rate=-1e-3)


@pytest.mark.parametrize(
    "words",
    [
        ["-"],
        ["--"],
        ["-", "upper"],
        ["data_dir", "upper"],
        ["--", "--interactive"],
        ["--", "--trace"],
        ["--data-dir", "a", "-", "__class__"],
        ["--data-dir", "a", "b"],
        ["--video=a", "b"],
        ["--resume", "yes"],
        ["--resume=yes"],
        ["--no-data-dir"],
        ["--data-dir"],
        ["--data-dir", "--resume"],
        ["--video"],
        ["--separator=x"],
    ],
)
def test_nothing_but_the_flags_is_understood(capsys, words):
    error_of(capsys, *words)


@dataclasses.dataclass(frozen=True)
class Demanding:
    """Needs a flag."""

    out: str  # output file
    source: str  # input file


def test_a_missing_flag_is_named(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.parse(Demanding, ["--out", "a"])
    assert ended.value.code == 2 and capsys.readouterr().err == "error: --source is missing (see --help)\n"


def test_help_wins_over_everything_else_on_the_command_line(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.parse(Demanding, ["stray", "--batch-size", "x", "-h"])
    assert ended.value.code == 0 and "output file (required)" in capsys.readouterr().out


def test_parsing_prints_nothing(capsys):
    cli.parse(Example, ["--batch-size", "4"])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("words", [("--rate", "nan"), ("--rate", "-inf"), ("--rate", "1e999"), ("--limit", "9" * 30)])
def test_numbers_that_no_check_of_a_range_would_catch_are_refused(capsys, words):
    assert "is not finite or too large, expected a" in error_of(capsys, *words)
