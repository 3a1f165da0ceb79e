"""A network is installed in folders that have the layout of iw3, new and old."""

import re
import sys

import pytest
import torch
import yaml

from model.checkpoint import load_network, save_network
from tests.support import ROOT
from tests.support.programs import refused, run_program, succeeds
from tests.tools.test_evaluate import tiny_network
from tools.cli.files import locked_folder
from tools.installing.__main__ import main
from tools.installing.entries import with_entry, with_variable, without_entry, without_variable

# As in iw3, a file names a network that iw3.models registers, and a network is chosen by the name of its entry
HEAD = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
registered = []

def load_model(path, weights_only):
    from model.checkpoint import load_network
    if not registered:
        raise ValueError("Unknown model name: inpaint.light_video_inpaint_v1")
    return load_network(path), {{}}
"""
LOADER = """
import yaml
home = os.environ.get("NUNIF_HOME") or os.path.dirname(os.path.dirname(__file__))

def load_video_inpaint_model(name, device_id):
    with open(os.path.join(home, "iw3", "inpaint_models.yml"), encoding="utf-8") as file:
        return load_model(yaml.safe_load(file)[name]["video"], weights_only=True)[0]
"""
OLD_LOADER = """
def load_video_inpaint_model(device_id):
    return load_model(VIDEO_MODEL_URL, weights_only=False)[0]
"""
OTHER = """
ours = load_model

def load_model(path, weights_only):
    network = ours(path, weights_only)[0]
    network.to_image.bias.data += 0.1
    return network, {}
"""
ALIASES = "a: &a\n  video: x\nb: *a\nc:\n  <<: *a\n  image: y\n"
ENDLESS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 30))
ENTRIES = "# my networks\nother:  # of a friend\n  video: models/other.pth\n"
URL = 'VIDEO_MODEL_URL = "https://example.org/" \\\n    "a.pth"  # the default\n'


def iw3_folder(path, is_old=False, entries=ENTRIES, loader=None):
    (path / "iw3/models").mkdir(parents=True)
    (path / "iw3/models/__init__.py").write_text("from iw3.inpaint_utils import registered\nregistered.append(1)\n")
    loader = (OLD_LOADER if is_old else LOADER) if loader is None else loader
    (path / "iw3/inpaint_utils.py").write_text(HEAD + (URL if is_old else "") + loader)
    if not is_old and entries is not None:
        (path / "iw3/inpaint_models.yml").write_text(entries)
    return path


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


@pytest.fixture
def checkpoint(tmp_path):
    save_network(tmp_path / "mine.pth", tiny_network(), {"steps": 5})
    return tmp_path / "mine.pth"


def words(folder, checkpoint, *more):
    return ("--iw3", folder, "--checkpoint", checkpoint, "--python", sys.executable, *more)


def test_ctrl_c_that_ends_the_trial_first_is_no_fault_of_the_network(tmp_path, checkpoint):
    folder = iw3_folder(tmp_path / "nunif")
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -INT $$\n")
    python.chmod(0o755)
    before = files(folder)
    status, _, line = run_program(main, "--iw3", folder, "--checkpoint", checkpoint, "--python", python)
    assert (status, line) == (130, "interrupted\n")
    assert files(folder) == before


def test_a_new_iw3_gets_an_entry_beside_the_others_and_tries_the_network(tmp_path, checkpoint, monkeypatch):
    monkeypatch.delenv("NUNIF_HOME", raising=False)
    folder = iw3_folder(tmp_path / "nunif")
    before = files(folder)
    out = succeeds(main, *words(folder, checkpoint))
    text = (folder / "iw3/inpaint_models.yml").read_text()
    path = folder / "iw3/pretrained_models/backfill.pth"
    assert text.startswith(ENTRIES) and yaml.safe_load(text)["backfill"] == {"video": str(path)}
    assert "loaded by iw3, fills a clip as here" in out and "--inpaint-model backfill" in out
    for name, weight in load_network(path).state_dict().items():
        assert torch.equal(weight, tiny_network().state_dict()[name])
    backup = folder / "iw3/inpaint_models.yml.before-backfill"
    assert backup.read_text() == ENTRIES
    succeeds(main, *words(folder, checkpoint, "--no-trial"))  # again
    assert (folder / "iw3/inpaint_models.yml").read_text() == text
    succeeds(main, "--iw3", folder, "--remove")
    backup.unlink()
    assert files(folder) == before


def test_an_installation_that_was_killed_before_its_entry_continues_and_a_foreign_file_stays(
    tmp_path, checkpoint, monkeypatch
):
    monkeypatch.delenv("NUNIF_HOME", raising=False)
    folder = iw3_folder(tmp_path / "nunif")
    succeeds(main, *words(folder, checkpoint, "--no-trial"))
    (folder / "iw3/inpaint_models.yml").write_text(ENTRIES)
    succeeds(main, *words(folder, checkpoint, "--no-trial"))
    assert "backfill" in (folder / "iw3/inpaint_models.yml").read_text()
    (folder / "iw3/inpaint_models.yml").write_text(ENTRIES)
    (folder / "iw3/pretrained_models/backfill.pth").write_bytes(b"of somebody else")
    assert "exists and is not in" in refused(main, *words(folder, checkpoint, "--no-trial"))
    assert (folder / "iw3/pretrained_models/backfill.pth").read_bytes() == b"of somebody else"


def test_a_link_into_a_read_only_folder_is_refused_before_anything_is_written(tmp_path, checkpoint, monkeypatch):
    monkeypatch.delenv("NUNIF_HOME", raising=False)
    folder, real = iw3_folder(tmp_path / "nunif"), tmp_path / "elsewhere" / "mine.yml"
    real.parent.mkdir()
    (folder / "iw3/inpaint_models.yml").rename(real)
    (folder / "iw3/inpaint_models.yml").symlink_to(real)
    before = sorted(folder.rglob("*"))
    monkeypatch.setattr("os.access", lambda path, _: path != real.parent)
    assert f"{real.parent} is read-only" in refused(main, *words(folder, checkpoint, "--no-trial"))
    assert sorted(folder.rglob("*")) == before and real.read_text() == ENTRIES


def test_an_installation_waits_for_another_one(tmp_path, checkpoint, monkeypatch):
    monkeypatch.delenv("NUNIF_HOME", raising=False)
    folder = iw3_folder(tmp_path / "nunif")
    held = []

    def entered(text, name, path, where):
        with locked_folder(folder / "iw3", wait=False) as free:
            held.append(not free)
        return with_entry(text, name, path, where)

    monkeypatch.setattr("tools.installing.entries.with_entry", entered)
    succeeds(main, *words(folder, checkpoint, "--no-trial"))
    assert held == [True]


def test_an_old_iw3_gets_its_variable_set_and_back(tmp_path, checkpoint):
    folder = iw3_folder(tmp_path / "nunif", is_old=True)
    before = files(folder)
    out = succeeds(main, *words(folder, checkpoint, "--name", "mine"))
    assert "loaded by iw3, fills a clip as here" in out
    source = (folder / "iw3/inpaint_utils.py").read_text()
    namespace = {}
    exec(source, namespace)
    assert namespace["VIDEO_MODEL_URL"] == str(folder / "iw3/pretrained_models/mine.pth")
    assert "VIDEO_MODEL_URL is set" in out and "--inpaint-model" not in out
    assert "was not set to" in refused(main, "--iw3", folder, "--remove")  # another name
    succeeds(main, "--iw3", folder, "--remove", "--name", "mine")
    (folder / "iw3/inpaint_utils.py.before-backfill").unlink()
    assert files(folder) == before


def test_the_home_folder_of_iw3_and_a_missing_list_of_networks_are_respected(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NUNIF_HOME", "~/home")
    (tmp_path / "home").mkdir()
    folder = iw3_folder(tmp_path / "nunif", entries=None)
    succeeds(main, *words(folder, checkpoint, "--no-trial"))
    entries = yaml.safe_load((tmp_path / "home/iw3/inpaint_models.yml").read_text())
    assert entries == {"backfill": {"video": str(tmp_path / "home/iw3/pretrained_models/backfill.pth")}}
    succeeds(main, "--iw3", folder, "--remove")
    assert not (tmp_path / "home/iw3/inpaint_models.yml").exists()


def test_a_python_without_the_packages_of_iw3_installs_without_a_trial(tmp_path, checkpoint, monkeypatch):
    monkeypatch.delenv("NUNIF_HOME", raising=False)
    folder = iw3_folder(tmp_path / "nunif", loader="import no_such_package.part\n")
    out = succeeds(main, *words(folder, checkpoint))
    assert "not tried in iw3" in out and "has no no_such_package: pass the Python of iw3 with --python" in out
    assert "backfill" in (folder / "iw3/inpaint_models.yml").read_text()


def test_the_command_that_is_printed_has_the_newest_method_that_this_iw3_knows(tmp_path, checkpoint, monkeypatch):
    monkeypatch.delenv("NUNIF_HOME", raising=False)
    folder = iw3_folder(tmp_path / "nunif")
    line = "--method forward_inpaint --inpaint-model backfill"
    assert line in succeeds(main, *words(folder, checkpoint, "--no-trial"))
    (folder / "iw3/monobw_inpaint.py").touch()
    assert line.replace("forward", "monobw") in succeeds(main, *words(folder, checkpoint, "--no-trial"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"entries": "a: [1\n"}, "is not valid YAML"),
        ({"entries": "- a\n"}, "holds a list, expected names of networks"),
        ({"entries": "backfill: {video: x.pth}\n"}, "has another network named backfill"),
        (
            {"loader": "raise ImportError('no such thing')\n"},
            "iw3 cannot load the network (ImportError: no such thing)",
        ),
        ({"loader": LOADER + OTHER}, "iw3 fills a clip differently from Backfill"),
        ({"is_old": True, "loader": "def broken(:\n"}, "is not valid Python"),
    ],
)
def test_after_a_mistake_nothing_is_changed(tmp_path, checkpoint, options, said, monkeypatch):
    monkeypatch.delenv("NUNIF_HOME", raising=False)
    folder = iw3_folder(tmp_path / "nunif", **options)
    before = files(folder)
    assert said in refused(main, *words(folder, checkpoint))
    assert files(folder) == before


def test_what_is_no_iw3_or_read_only_and_bad_names_are_one_line(tmp_path, checkpoint, monkeypatch):
    assert "is not the folder of nunif" in refused(main, *words(tmp_path, checkpoint))
    assert "--iw3 is missing" in refused(main)
    folder = iw3_folder(tmp_path / "nunif")
    before = files(folder)
    for name in ("a b", "../x", "yes", "null", "1", "light_inpaint_v1"):
        assert "--name" in refused(main, *words(folder, checkpoint, "--name", name))
    assert "missing.pth" in refused(main, *words(folder, tmp_path / "missing.pth"))
    assert "no network named backfill" in refused(main, "--iw3", folder, "--remove")
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "is read-only" in refused(main, *words(folder, checkpoint))
    assert files(folder) == before


@pytest.mark.parametrize("text", ["", "{}\n", "{a: {video: x}}", "a:\n  video: x", ENTRIES, "# nothing\n", ALIASES])
def test_entries_come_and_go_whatever_the_style_of_the_file(text):
    there = with_entry(text, "mine", "/a b/ü.pth", "f")
    assert yaml.safe_load(there) == (yaml.safe_load(text) or {}) | {"mine": {"video": "/a b/ü.pth"}}
    back = without_entry(there, "mine", "/a b/ü.pth", "f")
    assert (yaml.safe_load(back) or {}) == (yaml.safe_load(text) or {})


@pytest.mark.parametrize(
    "text",
    [
        "# mine\n{a: {video: x},  # good\n b: {video: y,}}\n",
        "{}  # none yet\n",
        "# mine\n  a:  # keep\n    video: x\n",  # an indented mapping
        "a: {video: x}  # keep\n...\n# the end\n",
        "a:\r\n  video: x  # keep\r\n",
        "# mine\nbase: &b  # keep\n  video: x\nother:\n  <<: *b  # as base\n  note: |+\n    text\n\n\n",
    ],
)
def test_what_a_user_wrote_by_hand_comes_back_to_the_last_comment(text):
    path = "/a folder/" + 30 * "long name " + "/ü.pth"
    there = with_entry(text, "mine", path, "f")
    assert yaml.safe_load(there) == (yaml.safe_load(text) or {}) | {"mine": {"video": path}}
    assert all(comment in there for comment in re.findall("#.*", text))
    assert without_entry(there, "mine", path, "f") == text


@pytest.mark.parametrize("before", ["A = 1\n\f\n", "A = '\u2028'\n", "A = 1\r", 'A = """\x1c\n\x85"""\r\n', f"{URL}\n"])
def test_only_the_lines_of_the_variable_change_whatever_ends_lines_before_it(before):
    source = before + URL + "b = 2\n"
    there = with_variable(source, "/x.pth", "f")
    assert there.startswith(before) and there.endswith("b = 2\n") and "VIDEO_MODEL_URL = '/x.pth'" in there
    assert without_variable(there, "/x.pth", "f") == source


@pytest.mark.parametrize(
    "source",
    [
        "if x:\n    VIDEO_MODEL_URL = 'a'\n",
        "VIDEO_MODEL_URL: str = 'a'\n",
        "a = 1; VIDEO_MODEL_URL = 'a'\n",
        "a = VIDEO_MODEL_URL = 'a'\n",
    ],
)
def test_a_variable_that_cannot_be_set_without_touching_others_is_left_to_the_user(tmp_path, checkpoint, source):
    folder = iw3_folder(tmp_path / "nunif")
    (folder / "iw3/inpaint_utils.py").write_text(source)
    before = files(folder)
    line = refused(main, *words(folder, checkpoint, "--no-trial"))
    assert "VIDEO_MODEL_URL is not set in lines of its own: set it there to '/" in line
    assert files(folder) == before


def test_a_variable_that_is_set_twice_returns_to_its_first_value():
    source = f"a = 1\n{URL}b = 2\n"
    twice = with_variable(with_variable(source, "/x.pth", "f"), "/y.pth", "f")
    assert without_variable(twice, "/y.pth", "f") == source


def test_a_file_behind_a_symbolic_link_is_changed_and_keeps_its_permissions(tmp_path):
    iw3, real = iw3_folder(tmp_path / "nunif"), tmp_path / "mine.yml"
    link = iw3 / "iw3" / "inpaint_models.yml"
    link.rename(real)
    link.symlink_to(real)
    real.chmod(0o600)
    succeeds(main, "--iw3", iw3, "--no-trial")
    assert link.is_symlink() and "backfill" in real.read_text() and real.stat().st_mode & 0o777 == 0o600
    succeeds(main, "--iw3", iw3, "--remove")
    assert link.is_symlink() and real.read_text() == ENTRIES


@pytest.mark.parametrize(
    "text",
    ["x: 2026-99-99\n", "x: !!int ''\n", "[" * 5000, "a: &a {b: *a}\n", ENDLESS, f"x: {'9' * 5000}\n", "x: \x00\n"],
)
def test_yaml_of_any_kind_is_one_line_and_stays_as_it_is(tmp_path, text):
    iw3 = iw3_folder(tmp_path / "nunif", entries=text)
    assert "nothing was changed" in refused(main, "--iw3", iw3, "--no-trial")
    assert (iw3 / "iw3" / "inpaint_models.yml").read_text() == text


def test_text_that_is_not_utf_8_is_one_line(tmp_path):
    iw3 = iw3_folder(tmp_path / "nunif")
    for name in ("inpaint_models.yml", "inpaint_utils.py"):
        (iw3 / "iw3" / name).write_bytes(b"\xff\xfe")
        assert f"{name} is not UTF-8 text" in refused(main, "--iw3", iw3, "--no-trial")


def test_line_ends_of_other_lines_stay(tmp_path):
    assert b"a: {video: x}\r\n" in installed_with(tmp_path / "nunif", b"a: {video: x}\r\n")


def installed_with(path, text):
    """inpaint_models.yml after an installation into one with these bytes."""
    iw3 = iw3_folder(path)
    (iw3 / "iw3" / "inpaint_models.yml").write_bytes(text)
    succeeds(main, "--iw3", iw3, "--no-trial")
    return (iw3 / "iw3" / "inpaint_models.yml").read_bytes()
