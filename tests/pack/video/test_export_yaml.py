"""iw3_export.yml of strangers: values of other types, endless ones, and paths that lead out of the export."""

from itertools import pairwise

import pytest
import yaml

from pack.video.export import EXPORT, read_export, sound_of
from tools.cli import MissingFile, UserError

PLAIN = {"type": "video", "fps": "25", "depth_dir": "depth"}
LETTERS = "abcdefghijklmnop"  # a short text that stands for 2**16 values
LAUGHS = "a: &a [x, x]\n" + "".join(f"{n}: &{n} [*{m}, *{m}]\n" for m, n in pairwise(LETTERS))


def written(folder, text):
    (folder / "depth").mkdir(exist_ok=True)
    (folder / EXPORT).write_text(text)
    return folder


def export_of(folder, **changes):
    return read_export(written(folder, yaml.safe_dump(PLAIN | changes)))


def test_rates_and_boundaries_are_read_in_every_spelling(tmp_path):
    rates = {"30000/1001": 29.97, "23.976": 23.976, 25: 25, 29.97002997002997: 29.97}
    for value, expected in rates.items():
        assert float(export_of(tmp_path, fps=value).fps) == pytest.approx(expected, abs=1e-3)
    for value in ("00000012,00000040", " 12, 40 "):
        assert export_of(tmp_path, user_data={"scene_boundary": value}).boundaries == {12, 40}
    assert export_of(tmp_path, user_data={"scene_boundary": 12}).boundaries == {12}
    for nothing in (None, ""):
        assert export_of(tmp_path, user_data={"scene_boundary": nothing}).boundaries == set()


@pytest.mark.parametrize("fps", ["1e999999999", "9" * 5000, "1/0", "0", "-25", "nan", True, [25], {"a": 1}, None, 0.0])
def test_a_rate_that_is_none_is_refused_without_computing_it(tmp_path, fps):
    with pytest.raises(UserError, match=r"iw3_export\.yml: fps is .*expected a number"):
        export_of(tmp_path, fps=fps)


@pytest.mark.parametrize(
    "changes",
    [
        *({name: odd} for name in ("depth_dir", "rgb_dir", "audio_file", "mapper") for odd in (["a"], 5, "a" * 2000)),
        *({"user_data": {"scene_boundary": odd}} for odd in ("9" * 5000, ["1"], "1;2", 1.5, True)),
        {"user_data": {"export_options": {"depth_model": ["a"]}}},
        {"user_data": [1]},
        {"type": ["video"] * 10_000},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_fields_of_other_types_are_one_short_line(tmp_path, changes):
    with pytest.raises(UserError, match=r"iw3_export\.yml") as error:
        export_of(tmp_path, **changes)
    assert len(str(error.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        *(LAUGHS + f"{name}: *p\n" for name in ("type", "fps", "audio_file")),
        "a: &a {b: *a}\ntype: *a\n",
        *(
            f"x: {value}\n"
            for value in ("2026-99-99", "!!int ''", "!!float x", "!!timestamp x", "!!bool x", "9" * 5000)
        ),
        "!!python/object/apply:os.system [exit]",
        "[" * 5000,
        "x: [" + "a, " * 25_000 + "]",
        "- a list",
        "\0",
    ],
    ids=lambda text: text[-20:],
)
def test_yaml_that_is_no_plain_mapping_is_one_line(tmp_path, text):
    with pytest.raises(
        UserError, match=r"iw3_export\.yml (is not valid YAML|holds no mapping).*export the depth again"
    ):
        read_export(written(tmp_path, text))


def test_paths_that_lead_out_of_the_export_are_not_followed(tmp_path):
    folder, secret = tmp_path / "export", tmp_path / "secret"
    for path in (folder / "depth", folder / "rgb", secret / "rgb"):
        path.mkdir(parents=True)
    (secret / "sound.wav").write_bytes(b"of another")
    for rgb, audio in ((str(secret / "rgb"), str(secret / "sound.wav")), ("../secret/rgb", "../secret/sound.wav")):
        export = export_of(folder, rgb_dir=rgb, audio_file=audio)
        assert (export.rgb_dir, export.audio_file) == (folder / "rgb", folder / "sound.wav")
        with pytest.raises(MissingFile, match="names the sound"):
            sound_of(folder)
