import ast
import errno

import pytest

from tests.support import ROOT
from tools.cli import MissingFile, UserError, is_shortage, one_line, plural, quoted


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("a\n  b\tc"), "a b c"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x.mp4"), "No such file: x.mp4"),
        (OSError(errno.EFBIG, "File too large", "file:/a/x.mkv"), "File too large: /a/x.mkv"),  # as FFmpeg names it
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("a broken file"), "a broken file"),
        (MissingFile("no folder x"), "no folder x"),
        (UserError("a\x1b[31mb\u202e"), r"a\x1b[31mb\u202e"),  # which a terminal would obey
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


def nested(value, levels):
    for _ in range(levels):
        value = [value] * 10
    return value


def test_a_quoted_value_is_short_whatever_it_holds():
    for value in (nested("x", 30), nested(0, 1) * 10**5, {"a" * 10**6: 1}, 10**20_000, b"x" * 10**6):
        assert 0 < len(quoted(value)) <= 60


def test_plain_values_are_quoted_as_they_are():
    assert [quoted(value) for value in ("a", 1, None, 0.5, True, [1, "b"])] == [
        "a",
        "1",
        "None",
        "0.5",
        "True",
        "[1, 'b']",
    ]
    assert quoted("\x1b[0m\u00e9") == r"'\x1b[0m\xe9'" and quoted(object()) == "a object"


@pytest.mark.parametrize("between", ["://", ":/", "///", ";//", " ://", ":\\\\", ":", "//"])
def test_secrets_of_mistyped_urls_are_not_shown(between):
    for scheme in ("s3", "https", "gs", "abfss", "S3"):
        line = one_line(UserError(f"no file {scheme}{between}KEY:SECRET@bucket/x?X-Sig=1 or https://a@b"))
        assert "SECRET" not in line and "KEY" not in line and "bucket/x" in line
    assert one_line(UserError("no film 12:30@night.mp4")) == "no film 12:30@night.mp4"


def test_a_text_that_a_file_holds_is_no_lack_of_memory():
    words = "Cannot allocate memory"
    assert not any(is_shortage(kind(words)) for kind in (UserError, ValueError, OSError, KeyError))
    assert is_shortage(OSError(errno.ENOMEM, "any words")) and is_shortage(RuntimeError(f"mmap: {words} (12)"))


def handlers_of_everything():
    """Where an exception of any kind becomes a UserError, as a damaged file's may."""
    for path in (path for folder in ("model", "pack", "train", "tools") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.ExceptHandler) and ast.unparse(node.type) in ("Exception", "BaseException")):
                continue
            if any(isinstance(inner, ast.Raise) and isinstance(inner.exc, ast.Call) for inner in ast.walk(node)):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(node.body[0])


def test_no_file_is_called_damaged_for_a_lack_of_memory():
    found = dict(handlers_of_everything())
    assert len(found) > 5
    asked = ("if is_shortage(error)", "if is_of_machine(error)")
    assert {place: first for place, first in found.items() if not first.startswith(asked)} == {}
