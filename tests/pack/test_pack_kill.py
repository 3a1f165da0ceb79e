"""The same command gives the same bytes, whoever does it and whatever happens meanwhile."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pack import pipeline, workers
from pack.shards.shard import list_shards
from tests.support.media.films import ROOT, SMALL, Brightness, digests, held, lines, pack, records, wait_for
from tests.support.processes import children, is_running
from tools.cli import plural

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("contained")]


def test_threads_and_processes_do_not_change_a_byte(clips, tmp_path, monkeypatch):
    words = [*"--max-fps 6 --seq 12 --resolution 256 --batch-size 1 --video".split(), clips / "bikes.mp4"]
    for threads in (1, 3):
        monkeypatch.setattr(workers, "usable_cores", lambda threads=threads: threads)
        pack(tmp_path / str(threads), *words)
    assert digests(tmp_path / "1") == digests(tmp_path / "3")
    assert len(records(tmp_path / "1")) >= 2


def test_a_clip_that_is_ready_early_waits_for_the_one_before_it(film, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "load_depth", Brightness)
    pack(tmp_path / "plain", "--video", film)
    overtaken, ready = threading.Event(), []

    def clip_depth(clip, *others):
        if clip.number == 0:
            assert overtaken.wait(480)
        depth = pipeline.clip_depth(clip, *others)
        ready.append(clip.number)
        if clip.number == 1:
            overtaken.set()
        return depth

    monkeypatch.setattr("pack.packing.clip_depth", clip_depth)
    monkeypatch.setattr(workers, "usable_cores", lambda: 2)
    pack(tmp_path / "overtaken", "--video", film)
    assert ready[0] == 1 and sorted(ready) == list(range(len(ready)))
    assert digests(tmp_path / "overtaken") == digests(tmp_path / "plain")


def test_workers_and_ranks_do_not_change_a_byte(short_films, tmp_path):
    out = pack(tmp_path / "one", "--video", short_films, "--max-workers", "1")
    assert "3 videos packed" in out
    out = pack(tmp_path / "workers", "--video", short_films, "--max-workers", "2")
    assert "3 videos packed" in out
    assert digests(tmp_path / "one") == digests(tmp_path / "workers") != {}

    (tmp_path / "bad.mp4").write_bytes(b"no video")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["--video", str(short_films), str(tmp_path / "bad.mp4"), "-o", str(tmp_path / "ranks")]
    done = subprocess.run(
        [*launcher, str(ROOT / "pack/main.py"), *SMALL, *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert digests(tmp_path / "one") == digests(tmp_path / "ranks")  # no rank was ended by the other's failure
    assert done.returncode == 1 and "3 videos packed" in done.stdout and "failed: " in done.stderr


def test_tasks_of_a_job_array_share_the_videos_and_report_separately(short_films, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "load_depth", Brightness)
    pack(tmp_path / "one", "--video", short_films)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, count in enumerate((1, 2)):
        monkeypatch.setenv("RANK", str(rank))
        assert f"{plural(count, 'video')} packed" in pack(tmp_path / "array", "--video", short_films)
    assert digests(tmp_path / "array") == digests(tmp_path / "one")


def test_a_killed_packing_resumes_with_the_open_part_and_ends_with_the_same_bytes(clips, tmp_path):
    words = ("--video", clips / "bikes.mp4", "--max-fps", "25", "--max-shard-bytes", "1000")  # a part for each clip
    pack(tmp_path / "whole", *words)
    whole = digests(tmp_path / "whole")
    assert len(whole) >= 10
    with held(tmp_path / "hold", *words, "-o", tmp_path / "killed") as process:
        wait_for(lambda: list((tmp_path / "killed").glob("*.json")), process)
    found = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("*.json")}
    assert 0 < len(found) < len(whole) // 2, "the kill came too late"
    pack(tmp_path / "killed", *words)
    assert digests(tmp_path / "killed") == whole
    assert all(path.stat().st_mtime_ns == when for path, when in found.items())


@pytest.mark.parametrize(("number", "status", "count"), [(signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 1)])
def test_a_signal_ends_a_packing_cleanly(films, tmp_path, number, status, count):
    words = ("--video", films, "-o", tmp_path, "--max-workers", count)
    with held(tmp_path / "hold", *words, start_new_session=True) as process:
        wait_for(lambda: len(list(tmp_path.glob("*.tmp"))) == count, process)
        os.killpg(process.pid, number)  # as a terminal's Ctrl-C and a scheduler do
        _, err = process.communicate()
    assert process.returncode == status
    assert len(lines(err)) == 1 and not list(tmp_path.glob("*.tmp"))


def test_workers_end_when_the_main_process_is_killed(films, tmp_path):
    with held(
        tmp_path / "hold", "--video", films, "-o", tmp_path, "--max-workers", "2", stdout=None, stderr=None
    ) as process:
        wait_for(lambda: len(list(tmp_path.glob("*.tmp"))) == 2, process)
        started = children(process.pid)
    assert len(started) >= 2
    while any(map(is_running, started)):  # one that goes on runs into the time limit of tests
        time.sleep(0.05)


def test_a_worker_that_is_killed_is_one_line(films, tmp_path):
    hold = tmp_path / "hold"
    with held(hold, "--video", films, "-o", tmp_path, "--max-workers", "2") as process:
        wait_for(lambda: len(list(tmp_path.glob("*.tmp"))) == 2, process)
        workers = [pid for pid in children(process.pid) if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
        os.kill(workers[0], signal.SIGKILL)
        hold.unlink()
        _, err = process.communicate()
    assert process.returncode == 2
    assert len(lines(err)) == 1 and "ended with status -9" in err
    assert len(list_shards(tmp_path)) == 2  # the other one packed what it could
