"""Mistakes and accidents: one line each, and nothing half-written."""

import os
import signal
import subprocess
import sys
import threading

import av
import numpy as np
import pytest
import torch

from pack import main as program
from pack import workers
from pack.shards.shard import list_shards
from pack.sources import find_videos
from tests.support.media.films import ROOT, SMALL, lines, make_video, refuse, start
from tests.support.programs import run_program
from tools.cli import UserError

pytestmark = pytest.mark.usefixtures("quick_depth")


def test_one_bad_video_among_several_is_named_at_the_end(short_films, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    words = ("--video", short_films, tmp_path / "bad.mp4", "-o", tmp_path / "out", *SMALL)
    status, out, err = run_program(program.main, *words)
    assert status == 1
    assert "3 videos packed" in out and "1 failed" in out
    assert err.count("\n") == 1 and err.startswith("failed: ") and "bad.mp4" in err
    assert len(list_shards(tmp_path / "out")) == 3


def test_a_video_without_read_permission_does_not_stop_the_others(short_films, tmp_path, monkeypatch):
    from pack import packing
    from pack.sources import fingerprint

    def may_not(path):
        if path.name == "short1.mp4":
            raise PermissionError(13, "Permission denied", str(path))
        return fingerprint(path)

    monkeypatch.setattr(packing, "fingerprint", may_not)
    status, out, err = run_program(program.main, "--video", short_films, "-o", tmp_path, *SMALL)
    assert status == 1 and "2 videos packed" in out
    assert err.startswith("failed: ") and "Permission denied" in err and "short1.mp4" in err


@pytest.mark.parametrize("stage", ["make_records", "to_members"])
def test_a_failure_in_one_clip_of_a_video_does_not_stop_other_videos(stage, short_films, tmp_path, monkeypatch):
    from pack import packing

    work, calls = getattr(packing, stage), []

    def fail_once(*arguments):
        calls.append(1)
        if len(calls) == 1:
            raise UserError("a frame that no one can use")
        return work(*arguments)

    monkeypatch.setattr(packing, stage, fail_once)
    words = ("--video", short_films, "-o", tmp_path, "--max-workers", 1, *SMALL)
    status, out, err = run_program(program.main, *words)
    assert status == 1 and "2 videos packed" in out and "1 failed" in out
    assert err.count("\n") == 1 and "a frame that no one can use" in err
    assert len(list_shards(tmp_path)) == 2 and not list(tmp_path.glob("*.tmp"))


BUGS = {
    "probe": ValueError("planted"),
    "transform_clips": TypeError("planted"),
    "clip_depth": KeyError("planted"),
    "make_records": ValueError("planted"),
    "to_members": OSError("planted"),  # without an error number: the operating system did not raise it
}


@pytest.mark.parametrize("stage", BUGS)
def test_a_bug_is_not_taken_for_a_bad_video_and_leaves_nothing_half_written(stage, short_films, tmp_path, monkeypatch):
    from pack import packing

    def planted(*_):
        raise BUGS[stage]

    monkeypatch.setattr(packing, stage, planted)
    with pytest.raises(type(BUGS[stage]), match="planted"):
        run_program(program.main, "--video", short_films, "-o", tmp_path / "out", "--max-workers", 1, *SMALL)
    assert not list(tmp_path.glob("out/*"))


PROGRAM_WITH_A_BUG = """
import sys
sys.path.insert(0, {root!r})
from pack import main, packing
from tools import cli

def planted(*_):
    raise ValueError("planted")

packing.make_records = planted  # also in worker processes, which import this file
if __name__ == "__main__":
    cli.run(main.main)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bug_in_a_worker_process_ends_the_program_with_its_traceback(workers, short_films, tmp_path):
    script = tmp_path / "with_a_bug.py"
    script.write_text(PROGRAM_WITH_A_BUG.format(root=str(ROOT)))
    words = ["--video", short_films, "-o", tmp_path / "out", "--max-workers", workers, *SMALL]
    done = subprocess.run([sys.executable, script, *map(str, words)], capture_output=True, text=True, timeout=480)
    assert done.returncode == 1 and "failed" not in done.stdout
    assert "Traceback" in done.stderr and "in planted" in done.stderr and "ValueError: planted" in done.stderr
    assert not list(tmp_path.glob("out/*"))


def test_the_next_videos_clips_are_computed_while_the_last_ones_of_a_video_are(short_films, tmp_path, monkeypatch):
    from pack import packing

    started, together = threading.Barrier(2, timeout=480), []
    compute = packing.clip_depth

    def depth(clip, models, config):
        if clip.number == 0:  # of each short film the only clip
            started.wait()  # for that of another film
            together.append(1)
        return compute(clip, models, config)

    monkeypatch.setattr(packing, "clip_depth", depth)
    monkeypatch.setattr(workers, "usable_cores", lambda: 2)
    videos = sorted(short_films.iterdir())[:2]
    words = ("--video", *videos, "-o", tmp_path, "--max-workers", 1, "--device", "cpu", *SMALL)
    status, out, err = run_program(program.main, *words)
    assert status == 0, err
    assert len(together) == 2 and "2 videos packed" in out


def test_a_gpu_with_too_little_memory_is_one_line(film, tmp_path, monkeypatch):
    def fill_up(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("pack.packing.make_records", fill_up)
    assert "--batch-size 1" in refuse(tmp_path, "--video", film)


def bad_videos(folder, film):
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video " * 99)
    (folder / "truncated.mp4").write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    with av.open(str(folder / "audio.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound) + stream.encode(None))
    make_video(folder / "short.mp4", 15)
    return sorted(folder.glob("*.mp4"))


def test_each_bad_video_gives_one_line_and_leaves_nothing(film, tmp_path):
    bad = bad_videos(tmp_path, film)
    assert len(bad) == 5
    for path in bad:
        line = refuse(tmp_path / "out", "--video", path)
        assert path.name in line
        assert not list((tmp_path / "out").glob("*"))
    assert "no clip: found 15 frames" in refuse(tmp_path / "out", "--video", tmp_path / "short.mp4")


def test_missing_videos_are_named(tmp_path):
    (tmp_path / "notes.txt").touch()
    for pattern in (tmp_path / "none.mp4", tmp_path / "*.mp4", tmp_path):
        assert str(pattern) in refuse(tmp_path / "out", "--video", pattern)
    assert not (tmp_path / "out").exists()


def test_two_videos_of_the_same_name_are_refused(film, tmp_path):
    (tmp_path / film.name).write_bytes(film.read_bytes())
    line = refuse(tmp_path / "out", "--video", film, tmp_path / film.name)
    assert "--prefix" in line and not (tmp_path / "out").exists()


BAD_FLAGS = {
    "--seq 8": "12 or more",
    "--seq 16 --batch-size 3": "--batch-size 3 does not divide --seq 16",
    "--batch-size 0": "1 or more",
    "--size 1024 --short-sides 720 1080": "--size 1024 does not fit",
    "--size 0": "1 or more",
    "--size big": "big",
    "--prefix a/b": "a/b",
    "--prefix a.b": "a.b",
    "--prefix " + "x" * 80: "shorter",
    "--max-fps 0": "--max-fps 0.0",
    "--max-fps nan": "--max-fps nan",
    "--skip-first -1": "0 or more",
    "--resolution 0": "1 or more",
    "--divergence-level 4": "4",
    "--short-sides 0": "--short-sides",
    "--image-format gif": "gif",
    "--max-shard-bytes lots": "lots",
    "--device tpu": "tpu",
    "--model-type a.b": "a.b",
    "--divergense-level 1": "did you mean --divergence-level",
}


@pytest.mark.parametrize("flags", BAD_FLAGS)
def test_bad_flags_are_refused_in_one_line_before_any_work(flags, tmp_path):
    status, _, err = run_program(program.main, "--video", "no.mp4", "-o", tmp_path / "out", *flags.split())
    assert status == 2 and err.count("\n") == 1 and BAD_FLAGS[flags] in err
    assert "no.mp4" not in err and not (tmp_path / "out").exists()


def test_a_split_folder_that_cannot_be_created_is_one_line(film, tmp_path):
    (tmp_path / "file").touch()
    line = refuse(tmp_path / "file" / "train", "--video", film)
    assert "is a file or below one" in line and "--data-dir" in line


@pytest.mark.slow
def test_a_disk_that_fills_up_keeps_what_was_published_and_nothing_half_written(films, tmp_path):
    words = [*"--max-workers 1 --max-shard-bytes 1000 --image-format png --video".split(), films]
    process = start(*words, "-o", tmp_path, preexec_fn=lambda: limit_files(300_000))
    _, err = process.communicate()
    assert process.returncode == 2
    assert len(lines(err)) == 1 and "cannot write to" in err and "File too large" in err
    assert not list(tmp_path.glob("*.tmp"))
    for path in tmp_path.glob("*.tar"):
        assert path.with_suffix(".json").exists()


def limit_files(size):
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_missing_gpu_is_one_line(film, tmp_path):
    count = torch.cuda.device_count()
    assert f"found {count} GPUs" in refuse(tmp_path, "--video", film, "--device", f"cuda:{count}")


def test_two_names_with_the_same_eight_digits_are_refused(film, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("film68092.mp4", "film112991.mp4"):
        (folder / name).write_bytes(film.read_bytes())
    line = refuse(tmp_path / "out", "--video", folder)
    assert "film68092.mp4" in line and "film112991.mp4" in line and "--prefix" in line


def test_hidden_files_of_a_folder_are_no_videos_and_names_need_not_be_utf8(film, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "._film.mp4").write_bytes(b"resource fork")
    name = os.fsdecode(b"caf\xe9.mp4")
    (folder / name).write_bytes(film.read_bytes())
    assert [video.name for video in find_videos([str(folder)])] == [name]
    status, _, err = run_program(program.main, "-o", tmp_path / "out", *SMALL, "--video", folder)
    assert status == 0, err
    assert [shard.source["video"] for shard in list_shards(tmp_path / "out")] == [name]
