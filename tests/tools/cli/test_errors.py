import errno

import pytest

from tools.cli import MissingFile, UserError, one_line, plural


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("a\n  b\tc"), "a b c"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x.mp4"), "No such file: x.mp4"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("a broken file"), "a broken file"),
        (MissingFile("no folder x"), "no folder x"),
    ],
)
def test_an_exception_is_one_line_with_the_files_name(error, line):
    assert one_line(error) == line


def test_a_missing_file_is_caught_as_a_users_error_and_as_the_systems():
    assert issubclass(MissingFile, UserError) and issubclass(MissingFile, FileNotFoundError)


def test_a_user_error_is_a_value_error():
    assert issubclass(UserError, ValueError)


def test_counts_agree_with_their_nouns():
    assert [plural(n, "cut") for n in (0, 1, 2)] == ["0 cuts", "1 cut", "2 cuts"]
    assert [plural(n, "index", "indexes") for n in (1, 2)] == ["1 index", "2 indexes"]
