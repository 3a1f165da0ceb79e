import errno
import json
import os
import shutil
import socket
import subprocess
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoint import load_network, save_network
from pack import main as packing
from pack.shards.record import decode
from pack.shards.shard import list_shards, read_record
from pack.video.reader import probe
from tests.support.media.depth_files import nearness, write_export
from tests.support.media.films import Brightness
from tests.support.media.shot_films import make_shots
from tests.support.programs import held_at, refused, run_program, succeeds
from tools import evaluate, stereo
from tools.film import __main__ as program
from tools.film.programs.run import ROOT
from tools.film.tune import evaluations_since_best, losses
from tools.film.work import Work

NAME = "inpaint.light_video_inpaint_v1"


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make_shots(tmp_path_factory.mktemp("film") / "film.mkv", shots=6, length=16, size=(96, 96))


@pytest.fixture(scope="module")
def depth(film, tmp_path_factory):
    bright = nearness(film)
    return write_export(tmp_path_factory.mktemp("depth") / "film", bright, fps=24)


@pytest.fixture
def here(monkeypatch, tmp_path, film):
    """Programs run in this process; the training is replaced by a network that is given."""
    torch.set_num_threads(1)
    calls = []
    mains = {"pack/main.py": packing.main, "tools/evaluate.py": evaluate.main, "tools/stereo.py": stereo.main}

    def run(name, *words, **_):
        calls.append((name, [str(word) for word in words]))
        if name == run.full:
            raise SystemExit(2)
        if name == "train/main.py":
            model = Work(tmp_path / "film_LR.film").model
            model.mkdir(exist_ok=True)
            (model / "loss_1.csv").write_text("1,0.1,0.2\n2,0.1,0.1\n")
            if not (model / f"{NAME}.pth").exists():
                save_network(model / f"{NAME}.pth", load_network("base"))
            return
        if name == "tools/evaluate.py" and not run.whole:
            write_metrics(*(words[words.index(flag) + 1] for flag in ("--data", "--out", "--checkpoint")), run.gains)
            return
        if name == "tools/stereo.py" and not run.whole:
            shutil.copy(run.film, words[words.index("--out") + 1])
            return
        status, _, err = run_program(mains[name], *words)
        if status:
            raise SystemExit(status) from RuntimeError(err)

    run.calls, run.film, run.whole, run.gains, run.full = calls, film, False, [0.5, 0.6, 0.7], ""
    for module in ("tools.film.stages", "tools.film.tune"):
        monkeypatch.setattr(f"{module}.run", run)
    monkeypatch.chdir(tmp_path)
    return run


def write_metrics(split, out, start, gains):
    """What tools/evaluate.py would write if the tuned network gained so much on one clip after the other."""
    entries = [entry for shard in list_shards(split) for entry in shard.records]
    clips = [
        {"key": entry.key, "measures": {Path(start).stem: {"hole_psnr": 20}, NAME: {"hole_psnr": 20 + gain},
         "replicate": {"hole_psnr": 19}}}
        for entry, gain in zip(entries, cycle(gains))
    ]  # fmt: skip
    out.mkdir(exist_ok=True)
    (out / "metrics.json").write_text(
        json.dumps({"methods": {"replicate": {"kind": "one frame"}, NAME: {"kind": "network"}}, "clips": clips})
    )


def converted(film, depth, *words):
    return succeeds(program.main, "--video", film, "--depth", depth, "--divergence", 9, "--device", "cpu", *words)


@pytest.mark.slow
def test_a_film_is_converted_with_the_start_where_tuning_gains_nothing_and_stages_are_not_repeated(
    film, depth, here, tmp_path
):
    here.whole = True
    said = converted(film, depth, "--hours", 0.01)
    assert "6 shots, 96 frames; depth of VDA_L changes by" in said
    assert "the start is used: tuning changed +0.00 dB [+0.00, +0.00] in holes of 3 held-out shots" in said
    assert probe("film_LR.mkv").width == 96
    names = [name for name, _ in here.calls]
    assert names == ["pack/main.py", "pack/main.py", "train/main.py", "tools/evaluate.py", "tools/stereo.py"]
    here.calls.clear()
    again = converted(film, depth, "--hours", 0.01)
    assert "converted before" in again
    assert not {"tools/evaluate.py", "tools/stereo.py"} & {name for name, _ in here.calls}


def test_a_network_that_is_better_on_held_out_shots_converts_the_film(film, depth, here, tmp_path):
    said = converted(film, depth)
    assert "the tuned network is used: it gains +" in said and "in holes of 3 held-out shots" in said
    words = here.calls[-1][1]
    assert words[words.index("--checkpoint") + 1].endswith(f"film_LR.film/model/{NAME}.pth")
    page = (tmp_path / "film_LR.certificate.html").read_text()
    assert "The tuned network is used" in page and "data:image/png" in page
    assert (tmp_path / "film_LR.fills.png").exists()


def test_records_are_made_as_the_conversion_will_see_the_film(film, depth, here, tmp_path):
    here.gains = [0.5, -0.6, 0.1]
    assert "the start is used: tuning changed" in converted(film, depth)
    splits = {name: list_shards(tmp_path / "film_LR.film/data" / name) for name in ("train", "eval")}
    frames = {}
    for name, shards in splits.items():
        records = [decode(entry.key, read_record(shard, entry)) for shard in shards for entry in shard.records]
        frames[name] = {record.info["start_frame"] for record in records}
        for info in (record.info for record in records):
            assert (info["divergence"], info["rotation"], info["mapper"], info["mask"]) == (
                18, None, "none", "forward_warp"
            )  # fmt: skip
    assert frames["eval"] <= {16, 48, 80} and frames["train"] <= {0, 32, 64} and all(frames.values())
    words = here.calls[-1][1]
    assert words[words.index("--checkpoint") + 1] == "base" and words[words.index("--depth-range") + 1] == "given"


def test_other_settings_in_the_same_folder_are_refused(film, depth, here):
    converted(film, depth, "--hours", 0)
    said = refused(program.main, "--video", film, "--depth", depth, "--device", "cpu", "--divergence", 3)
    assert 'divergence is "3", was "9"): pass another OUT' in said


@pytest.mark.slow
def test_a_second_command_for_the_same_film_is_refused_and_the_lock_of_a_killed_one_taken_over(
    film, depth, here, tmp_path
):
    words = ("--video", film, "--depth", depth, "--device", "cpu", "--hours", 0)
    with held_at("tools.film.__main__.make_film", program.__name__, *words, "-o", tmp_path / "film_LR.mkv") as first:
        lock = tmp_path / "film_LR.film/film.lock"
        said = refused(program.main, *words, "-o", tmp_path / "film_LR.mp4")  # with the same working folder
        assert f"is in use by another make film (process {first.pid} on {socket.gethostname()}): wait" in said
        assert "pass another OUT (-o)" in said and [path.name for path in lock.parent.iterdir()] == [lock.name]
        assert "conversion" in succeeds(program.main, *words, "--dry-run")
    assert lock.exists()  # that of the first, which is killed
    succeeds(program.main, *words)
    assert not lock.exists()


def test_too_few_shots_are_converted_with_the_start_and_the_page_says_why(here, tmp_path):
    film = make_shots(tmp_path / "short.mkv", shots=2, size=(96, 96))
    words = ("--depth", write_export(tmp_path / "d", nearness(film), fps=24), "--device", "cpu")
    said = succeeds(program.main, "--video", film, "-o", tmp_path / "film_LR.mkv", *words)
    assert "found 2 shots, too few to hold 3 of at least 16 frames out" in said
    assert [name for name, _ in here.calls] == ["pack/main.py", "tools/stereo.py"]
    assert "could not be proved" in (tmp_path / "film_LR.certificate.html").read_text()


def test_no_time_for_one_epoch_is_said(film, depth, here, tmp_path, monkeypatch):
    monkeypatch.setattr("tools.film.tune.run", lambda *_, **__: None)
    assert "the time was too short for one epoch, pass more HOURS" in converted(film, depth, "--hours", 0.0001)


def test_a_dry_run_says_what_the_stages_take_and_writes_nothing(film, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pack.depth.models.load_depth", Brightness)
    prepared = []
    monkeypatch.setattr("train.runtime.cpu.prepare_cpu", prepared.append)
    said = succeeds(program.main, "--video", film, "--dry-run", "--device", "cpu")
    assert prepared == [torch.device("cpu")]  # the network is timed as the programs run it
    for stage in ("depth and shots", "records", "tuning", "certificate", "conversion"):
        assert f". {stage}" in said
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_one_line_before_any_work(film, depth, here, tmp_path):
    (depth / "iw3_export.yml").rename(tmp_path / "kept.yml")
    try:
        for words, line in (
            ((), "--video is missing"),
            (("--video", film, "--depth", depth), "which iw3 writes last"),
            (("--video", film, "-o", film), "is the film itself"),
            (("--video", film, "--checkpoint", "no.pth"), "no.pth"),
            (("--video", film, "--hours", -1), "--hours of 0 or more"),
        ):
            assert line in refused(program.main, *words)
    finally:
        (tmp_path / "kept.yml").rename(depth / "iw3_export.yml")
    assert list(tmp_path.iterdir()) == []


def test_depth_of_another_film_is_refused_before_any_work(film, here, tmp_path):
    bright = nearness(film)
    cases = {
        "short": (bright[:90], "has no map for the frame at 3.75 s (6 of 96 frames have none)"),
        "long": (np.concatenate([bright, bright]), "has 96 maps of 192 behind the film's last frame"),
        "wide": (bright[:, ::2], "expected depth of the same aspect ratio, is it of another film?"),
    }
    for name, (maps, line) in cases.items():
        depth = write_export(tmp_path / "d" / name, maps, fps=24)
        assert line in refused(program.main, "--video", film, "--depth", depth, "--device", "cpu")
    assert not list(tmp_path.glob("film_LR*"))


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_in_any_stage_keeps_what_is_finished_and_the_same_command_continues(
    film, depth, here, tmp_path, monkeypatch
):
    words = ("--video", film, "--depth", depth, "--divergence", 9, "--device", "cpu")
    work = Work(tmp_path / "film_LR.film")
    with monkeypatch.context() as full:
        full.setattr("tools.film.survey.write_maps", full_disk)
        assert "No space left on device" in refused(program.main, *words)
    assert not work.read("shots") and not list(work.depth.rglob("*.tmp"))
    for name in ("pack/main.py", "train/main.py", "tools/evaluate.py", "tools/stereo.py"):
        here.full = name
        status, _, err = run_program(program.main, *words)
        assert status == 2 and not err and here.calls[-1][0] == name  # the program itself has said why
        assert not (tmp_path / "film_LR.mkv").exists() and (work.depth / "iw3_export.yml").exists()
    here.full = ""
    with monkeypatch.context() as full:
        full.setattr("tools.film.page.write_file", full_disk)
        assert "No space left on device" in refused(program.main, *words)
    here.calls.clear()
    assert "the tuned network is used" in succeeds(program.main, *words)
    assert not {"tools/evaluate.py", "tools/stereo.py"} & {name for name, _ in here.calls}  # finished before
    (tmp_path / "film_LR.mkv").write_bytes(b"what another program has written since")
    succeeds(program.main, *words)
    assert here.calls[-1][0] == "tools/stereo.py" and probe("film_LR.mkv").width == 96


def test_the_training_ends_when_held_out_shots_stop_gaining(tmp_path):
    assert losses(tmp_path) == [] and evaluations_since_best(tmp_path) == 0
    (tmp_path / "loss_1.csv").write_text("1,9,0.5\n2,9,0.3\n3,9,0.4\n4,9,nan\n")
    assert losses(tmp_path)[:3] == [0.5, 0.3, 0.4] and evaluations_since_best(tmp_path) == 2


@pytest.mark.slow
@pytest.mark.timeout(900)  # seven processes, each of which imports torch
def test_the_whole_command_runs_in_processes_of_its_own(film, depth, tmp_path):
    words = [
        "--video",
        film,
        "--depth",
        depth,
        "--hours",
        "0.004",
        "--tile",
        "64",
        "--divergence",
        "9",
        "--device",
        "cpu",
    ]
    command = [ROOT / ".venv/bin/python", ROOT / "tools/film", *words, "-o", tmp_path / "x_LR.mkv"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "network is used" in done.stdout or "the start is used" in done.stdout
    assert probe(tmp_path / "x_LR.mkv").frames in (0, 96)
    assert json.loads((tmp_path / "x_LR.film/tuning.json").read_text())["ended"] in ("time", "gain")
