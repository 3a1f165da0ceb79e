"""--config and --print-config: what is printed is read back, and mistakes are one line with file and key."""

import dataclasses
import tomllib
from typing import ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools import cli
from tools.cli import UserError
from tools.cli.flags.config_file import config_text, read_config
from tools.cli.flags.fields import read_flags
from tools.cli.output import CONTROLS
from tools.options import PROGRAMS, TOOLS, configuration


@dataclasses.dataclass(frozen=True)
class Example:
    """Does nothing."""

    ALIASES: ClassVar = {"dataset_dir": ("-i", "--video")}
    dataset_dir: str = "data"  # input folder
    tile: int = 256
    rate: float = 1e-4  # learning rate
    level: Literal["1", "wide"] = "1"
    resume: bool = True
    limit: int | None = None
    sides: tuple[int, ...] = (1,)

    def __post_init__(self):
        if self.tile < 1:
            raise UserError(f"--tile {self.tile}: expected 1 or more")


def write(tmp_path, text):
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def error_of(capsys, path, *words):
    with pytest.raises(SystemExit) as ended:
        cli.parse(Example, ["--config", path, *words])
    message = capsys.readouterr().err
    assert ended.value.code == 2 and message.startswith("error: ") and message.count("\n") == 1
    return message


def printed(capsys, *words, config_class=Example):
    with pytest.raises(SystemExit) as ended:
        cli.parse(config_class, [*words, "--print-config"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_keys_are_the_flags_with_hyphens_or_underscores(tmp_path):
    text = 'dataset_dir = "a"\nrate = 1\nlevel = "wide"\nresume = false\nlimit = 3\nsides = [2, 3]'
    assert cli.parse(Example, ["--config", write(tmp_path, text)]) == Example("a", 256, 1.0, "wide", False, 3, (2, 3))
    assert cli.parse(Example, ["--config", write(tmp_path, 'dataset-dir = "b"')]).dataset_dir == "b"
    assert cli.parse(Example, ["--config", write(tmp_path, 'video = "c"')]).dataset_dir == "c"


def test_the_command_line_wins_over_the_file_wherever_it_stands(tmp_path):
    path = write(tmp_path, 'tile = 8\nresume = true\ndataset-dir = "a"')
    for words in (["--config", path, "--tile", "9", "--no-resume"], ["--tile=9", "--no-resume", f"--config={path}"]):
        assert cli.parse(Example, words) == Example("a", tile=9, resume=False)


def test_what_is_printed_is_the_resolved_configuration_and_is_read_back(tmp_path, capsys):
    path = write(tmp_path, "tile = 8\nrate = 2.0")
    text = printed(capsys, "--config", path, "--rate", "1e-5", "-i", "日本 \x7f\x9b\u2028\t\"'\\")
    assert tomllib.loads(text)["rate"] == 1e-5 and not CONTROLS.search(text)  # which standard output would change
    again = cli.parse(Example, ["--config", write(tmp_path, text)])
    assert again == Example("日本 \x7f\x9b\u2028\t\"'\\", tile=8, rate=1e-5)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("tle = 8", ["unknown key tle", "did you mean tile?"]),
        ("[train]\ntile = 8", ["unknown key train"]),
        ("i = 'a'", ["unknown key i"]),
        ("config = 'a.toml'", ["unknown key config"]),
        ("tile = '8'", ['tile = "8"', "expected a whole number"]),
        ("tile = 8.0", ["tile = 8.0", "expected a whole number"]),
        ("tile = true", ["tile = true", "expected a whole number"]),
        ("rate = 'x'", ["rate", "expected a number"]),
        ("dataset-dir = 1", ["dataset-dir = 1", "expected text in quotes"]),
        ("dataset-dir = 2020-01-01", ["dataset-dir = 2020-01-01", "expected text in quotes"]),
        ("level = 1", ["level = 1", 'expected "1", "wide"']),
        ("resume = 'yes'", ["resume", "expected true or false"]),
        ("sides = 1", ["sides = 1", "expected a list of whole numbers"]),
        ("sides = [1, 'x']", ["sides", "expected a list of whole numbers"]),
        ("dataset-dir = 'a'\nvideo = 'b'", ["video", "twice"]),
        ("tile 8", ["is not valid TOML"]),
        ("tile = 8\ntile = 9", ["is not valid TOML"]),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(tmp_path, capsys, text, parts):
    path = write(tmp_path, text)
    message = error_of(capsys, path)
    assert path in message
    for part in parts:
        assert part in message


def test_a_file_that_is_missing_or_not_text_is_one_line(tmp_path, capsys):
    assert "missing.toml" in error_of(capsys, str(tmp_path / "missing.toml"))
    (tmp_path / "film.toml").write_bytes(b"\xff\xfe\x00")
    assert "film.toml is not valid TOML" in error_of(capsys, str(tmp_path / "film.toml"))


def test_a_value_out_of_range_is_refused_from_a_file_too(tmp_path, capsys):
    assert "--tile 0: expected 1 or more" in error_of(capsys, write(tmp_path, "tile = 0"))


def test_only_the_first_process_of_a_job_prints_the_configuration(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert printed(capsys) == ""


def test_a_text_that_is_no_utf_8_is_refused():
    with pytest.raises(UserError, match=r"--dataset-dir .*is not UTF-8"):
        config_text(Example("\udcff"))


def values_of(flag):
    """Any value that a field can have."""
    one = {
        bool: st.booleans(),
        int: st.integers(-(1 << 63) + 1, (1 << 63) - 1),
        float: st.floats(-1e18, 1e18),
        str: st.text(st.characters(exclude_categories=["Cs"])),
    }[flag.kind]
    if flag.choices:
        one = st.sampled_from(flag.choices)
    values = st.lists(one).map(tuple) if flag.several else one
    return values if flag.default is not None else st.none() | values


@pytest.mark.parametrize("program", PROGRAMS + TOOLS)
def test_every_program_reads_back_any_values_that_it_prints(program, tmp_path):
    config_class = configuration(program)
    flags = read_flags(config_class)
    path = tmp_path / "run.toml"

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(st.fixed_dictionaries({flag.field: values_of(flag) for flag in flags}))
    def check(values):
        config = object.__new__(config_class)  # without __post_init__, which refuses most combinations
        vars(config).update(values)
        path.write_text(config_text(config), encoding="utf-8", newline="")
        found = read_config(str(path), flags)
        assert found == {name: value for name, value in values.items() if value is not None}
        assert all(type(found[name]) is type(values[name]) for name in found)

    check()


@pytest.mark.parametrize("program", PROGRAMS + TOOLS)
def test_a_field_that_can_be_none_is_none_by_default(program):
    config_class = configuration(program)
    for field in dataclasses.fields(config_class):
        if "None" in str(field.type):
            assert field.default is None, "a file cannot set it to None"


@pytest.mark.parametrize("program", PROGRAMS + TOOLS)
def test_a_default_has_the_type_of_its_field(program):
    """Or a value that is left out and the same one that is given would be written differently."""
    for flag in read_flags(configuration(program)):
        if flag.default not in (None, dataclasses.MISSING) and not flag.several:
            assert type(flag.default) is flag.kind, flag.name


@pytest.mark.parametrize("value", ["nan", "-inf", "1" + "0" * 400, "9" * 5000, "[" * 3000, "2026-02-31"])
def test_numbers_that_are_too_large_and_other_odd_values_are_one_line(tmp_path, capsys, value):
    assert "run.toml" in error_of(capsys, write(tmp_path, f"rate = {value}"))


@pytest.mark.parametrize("url", ["s3://me:secret@b/x", "https://h/x?X-Amz-Signature=secret", "s3:/me:secret@b"])
def test_a_url_with_a_secret_is_not_printed_as_toml(capsys, url):
    with pytest.raises(SystemExit) as ended:
        cli.parse(Example, ["-i", url, "--print-config"])
    out, err = capsys.readouterr()
    assert ended.value.code == 2 and out == "" and "secret" not in err and "--dataset-dir is a URL with" in err
