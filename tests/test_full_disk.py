"""A full disk ends each program that writes files with status 2, the path and a remedy; nothing is left half done."""

import ast
import errno
import functools
import os
import resource

import pytest

from model.checkpoint import save_network
from tests.support import ROOT
from tests.support.media.films import make_video
from tests.support.programs import refused, run_program
from tests.support.shards import make_data
from tests.tools.test_evaluate import tiny_network
from tests.tools.test_folders import write_iw3
from tests.tools.test_install_iw3 import iw3_folder
from tools import evaluate, export, folders, peek, preview, split, transfer
from tools.arena import __main__ as arena
from tools.cli.files import append_line
from tools.installing import __main__ as installing
from tools.stereo_truth import __main__ as stereo_truth


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("full") / "data", records=4, frames=12, size=72, evaluation=2)


@pytest.fixture
def network(tmp_path):
    save_network(tmp_path / "a.pth", tiny_network())
    return tmp_path / "a.pth"


def commands(data, network, out):
    """By program, its `main`, its words, and what the message names."""
    evaluation = ("-i", data / "eval", "-o", out, "--baselines", "replicate", "--tile", 64, "--pictures", 0)
    return {
        "export": (export.main, ("--checkpoint", network, "-o", out / "x.pth"), "x.pth"),
        "peek": (peek.main, ("-i", data / "train", "-o", out / "x.png"), "x.png"),
        "split": (split.main, ("-i", data, "--num-samples", 1), ".tar"),
        "transfer": (transfer.main, ("-i", data, "-o", out), ".tar"),
        "install-iw3": (
            installing.main,
            ("--iw3", iw3_folder(out / "nunif"), "--checkpoint", network, "--no-trial"),
            "backfill.pth",
        ),
        "folders": (folders.main, ("--from-shards", data / "train", "-o", out), "test_"),
        "import": (folders.main, ("--from-folders", iw3_folders(out), "-o", out / "shards"), "imported-00000.tar"),
        "preview": (preview.main, (*words_of_preview(out), "-o", out / "x.png"), "x.png"),
        "evaluate": (evaluate.main, (*evaluation, "--checkpoint", network), str(out)),
    }


def iw3_folders(out):
    write_iw3(out / "iw3" / "p_1_0")
    return out / "iw3"


def words_of_preview(out):
    return "--video", make_video(out / "film.mp4", 18), "--clips", 1, "--resolution", 64


PROGRAMS = ("evaluate", "export", "folders", "import", "install-iw3", "peek", "preview", "split", "transfer")


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_full_disk_is_one_line_with_the_path_and_a_remedy(program, data, network, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    main, words, named = commands(data, network, out)[program]
    before = files(data), files(out)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    line = refused(main, *words)
    assert "No space left on device" in line and named in line and "free some space" in line
    kept = {path: content for path, content in files(out).items() if not path.name.endswith(".tmp")}
    assert (files(data), kept) == before


def test_a_line_that_does_not_fit_on_the_disk_leaves_none_of_it(tmp_path):
    path = tmp_path / "results.jsonl"
    append_line(path, "first")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, before[1]))  # a write stops in the middle; Python ignores SIGXFSZ
    try:
        with pytest.raises(OSError) as caught:
            append_line(path, "x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(path) and path.read_text() == "first\n"
    append_line(path, "second")
    assert path.read_text() == "first\nsecond\n"


WRITERS = {"write_text", "write_bytes", "copy", "copy2", "copyfile", "open"}
NAMED_BY = ("naming(", "explain_disk_error(")  # blocks inside which an error gets the file's name
OTHERS = {
    "pack/shards/cache.py": "inside its method _disk",
    "tools/cli/files.py": "its functions give the name themselves",
    "train/checkpoints/state.py": "second_name is called inside explain_disk_error",
    "tools/cli/locks.py": "it opens a file without a byte",
}


@functools.cache
def trees():
    """Every module, by its path from the root."""
    paths = [path for folder in ("model", "pack", "train", "tools") for path in (ROOT / folder).rglob("*.py")]
    return [(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())) for path in paths]


def unnamed_writes(path, tree):
    """Calls that write a file outside of the blocks that name it when the disk is full."""
    named = [node for node in ast.walk(tree) if isinstance(node, ast.With) and is_naming(node)]
    inside = {id(inner) for node in named for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and id(node) not in inside and writes(node):
            yield f"{path}:{node.lineno}: {ast.unparse(node)}"


def is_naming(node):
    return any(ast.unparse(item.context_expr).startswith(NAMED_BY) for item in node.items)


def writes(call):
    owner, _, name = ast.unparse(call.func).rpartition(".")
    if name in ("write_text", "write_bytes") or (owner == "shutil" and name in WRITERS):
        return True
    modes = [word.value for word in call.args if isinstance(word, ast.Constant) and isinstance(word.value, str)]
    return name == "open" and not owner and any(set("wax+") & set(mode) and len(mode) < 4 for mode in modes[-1:])


def test_every_file_is_written_where_a_full_disk_names_it():
    found = [line for path, tree in trees() for line in unnamed_writes(path, tree)]
    assert [line for line in found if line.partition(":")[0] not in OTHERS] == []


MADE_BY_OURSELVES = {  # files that no stranger makes, which are read whole
    **dict.fromkeys(("tools/bench.py", "tools/benches/case.py", "tools/cli/machine.py"), "of /proc"),
    **dict.fromkeys(("tools/evaluation/methods.py", "train/dry_run.py"), "of /proc"),
    **dict.fromkeys(("tools/benches/startup.py", "tools/inspection/page.py", "tools/options.py"), "of our code"),
    **dict.fromkeys(("tools/benches/packing.py", "tools/gpu/learning.py"), "of what was just written"),
}


def test_no_file_is_read_whole_that_may_be_endless():
    found = [
        f"{path}:{call.lineno}: {ast.unparse(call)}"
        for path, tree in trees()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith((".read_text", ".read_bytes"))
    ]
    assert [line for line in found if line.partition(":")[0] not in MADE_BY_OURSELVES] == []


@pytest.mark.parametrize("main", [evaluate.main, arena.main, stereo_truth.main], ids=["evaluate", "arena", "stereo"])
def test_a_folder_that_cannot_be_written_is_known_before_the_work(main, network, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    words = ["--checkpoints" if main is arena.main else "--checkpoint", network]
    monkeypatch.setattr("model.device.choose_device", None)  # all work comes after it
    assert f"Not a directory: {tmp_path}/file/out" in refused(main, *words, "-o", tmp_path / "file" / "out")
    with pytest.raises(TypeError):
        run_program(main, *words, "-o", tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists() and not list(tmp_path.glob("*.tmp"))
