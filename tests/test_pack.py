import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import webdataset

from pack import main as program
from pack import workers
from pack.config import parse_bytes
from pack.record import MASK_LEVELS, decode
from pack.shard import list_shards, read_record
from pack.sources import find_videos, share
from tests.films import make_video
from tests.programs import refused, run_program, succeeds

ROOT = Path(__file__).resolve().parents[1]
SMALL = "--resolution 64 --short-sides 192 --size 160 --divergence-level 3 --skip-interval 4".split()


class Brightness:
    """A depth model that takes no time: what is bright is near."""

    metric = False

    def __init__(self, *_):
        pass

    def __call__(self, frames):  # (T 3 H W) -> (T 1 H/2 W/2)
        return frames.mean(1, keepdim=True)[..., ::2, ::2].contiguous()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(workers, "load_depth", Brightness)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest keeps its own handlers
    yield
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for number in range(3):
        make_video(folder / f"film{number}.mp4", 64 - 20 * number, seed=number)
    return folder


@pytest.fixture(scope="session")
def shorts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shorts")
    for number in range(3):
        make_video(folder / f"short{number}.mp4", 18 + number, seed=number)
    return folder


@pytest.fixture
def film(videos):
    return videos / "film0.mp4"


def pack(out, *words):
    return succeeds(program.main, "-o", out, *SMALL, *words)


def refuse(out, *words):
    line = refused(program.main, "-o", out, *SMALL, *words)
    assert line.startswith("error: ") and not list(Path(out).glob("*.tmp"))
    return line


def start(*words, **options):
    """A packing in a process of its own, with the depth model that it has by default."""
    words = [sys.executable, str(ROOT / "pack/main.py"), *SMALL, *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, env=environment, **pipes | options)


def lines(err):
    """What a packing said on stderr, without its progress."""
    return [line for line in err.splitlines() if not line.startswith("packing ")]


def digests(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def records(folder):
    return [decode(entry.key, read_record(shard, entry)) for shard in list_shards(folder) for entry in shard.records]


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


# What is packed


def test_a_stock_webdataset_reads_what_was_packed(film, tmp_path):
    pack(tmp_path, "--video", film, "--prefix", "a")
    shard = list_shards(tmp_path)[0]
    samples = list(webdataset.WebDataset(str(shard.tar), shardshuffle=False).decode("rgb"))
    assert [sample["__key__"] for sample in samples] == [entry.key for entry in shard.records]
    assert len(samples) >= 4
    for sample, record in zip(samples, records(tmp_path), strict=True):
        assert sample["00_c.webp"].shape == (160, 160, 3) and sample["json"] == record.info
        assert set(np.unique(record.masks)) <= set(MASK_LEVELS) and record.masks.any()


def test_keys_are_numbered_as_in_iw3_upright_odd_and_mirrored_even(film, tmp_path):
    pack(tmp_path, "--video", film, "--num-samples", "2", "--prefix", "p")
    for record in records(tmp_path):
        prefix, model, _, number, crop = record.key.split("_")
        assert (prefix, model) == ("p", "Motion") and crop in "01"
        assert int(number) == 2 * record.info["clip"] + 1 + record.info["mirrored"]


def test_a_records_json_suffices_to_cut_its_frames_again(film, tmp_path):
    from pack.geometry import resize, rotate
    from pack.video import read_frames

    pack(tmp_path, "--video", film)
    frames = np.stack(list(read_frames(film, 30)))
    kinds = set()
    for record in records(tmp_path):
        info = record.info
        clip = frames[info["start_frame"] : info["start_frame"] + 16]
        if info["rotation"] is not None:
            clip = rotate(clip, info["rotation"])
        clip = resize(clip, info["short_side"], info["interpolation"])
        assert [clip.shape[2], clip.shape[1]] == info["frame_size"]
        clip = clip[:, :, ::-1] if info["mirrored"] else clip
        (x, y), size = info["crop"], info["size"]
        assert np.array_equal(clip[:, y : y + size, x : x + size], record.frames)
        kinds.add((info["mirrored"], info["rotation"] is not None))
    assert len(kinds) == 4


def test_a_records_json_suffices_to_find_its_holes_again(film, tmp_path):
    from model.morphology import mask_closing
    from pack.depth import normalise
    from pack.geometry import resize, rotate
    from pack.holes import dilate_edge, nonwarp_mask
    from pack.mappers import mapper
    from pack.pipeline import fit
    from pack.video import read_frames

    pack(tmp_path, "--video", film)
    video = np.stack(list(read_frames(film, 30)))
    for record in records(tmp_path):
        info = record.info
        clip = video[info["start_frame"] : info["start_frame"] + 16]
        clip = clip if info["rotation"] is None else rotate(clip, info["rotation"])
        clip = torch.from_numpy(resize(clip, info["short_side"], info["interpolation"])).permute(0, 3, 1, 2) / 255
        depth = dilate_edge(normalise(Brightness()(clip)), info["edge_dilation"])
        depth = fit(mapper(info["mapper"])(depth), info["frame_size"][::-1])
        depth = depth.flip(-1) if info["mirrored"] else depth
        holes = mask_closing(nonwarp_mask(depth, info["divergence"], info["convergence"], info["view"]))
        (x, y), side = info["crop"], info["size"]
        expected = holes[:, 0, y : y + side, x : x + side].numpy()
        assert np.array_equal(np.array([0, 128, 255])[(expected * 2).astype(int)], record.masks)
        assert info["hole_share"] == pytest.approx(expected.mean(), abs=1e-6)


def test_depth_lies_on_the_pixels_of_the_frames_also_in_a_mirror():
    from pack.pipeline import fit

    ramp = (torch.arange(32.0) + 0.5).expand(1, 1, 18, 32) / 32  # at every pixel's middle, its x
    wide = fit(ramp, (90, 160))
    assert torch.allclose(wide[..., 5:-5], ((torch.arange(160.0) + 0.5) / 160)[5:-5].expand(1, 1, 90, -1), atol=1e-6)
    depth = torch.rand(1, 1, 18, 32, generator=torch.Generator().manual_seed(0))
    for size in ((90, 160), (9, 16)):
        assert torch.allclose(fit(depth.flip(-1), size), fit(depth, size).flip(-1), atol=1e-6)


def test_records_with_too_few_holes_are_left_out_and_counted(film, tmp_path):
    out = pack(tmp_path, "--video", film)
    assert all(record.masks.astype(float).sum() / 255 / 16 > 299 for record in records(tmp_path))
    still = make_video(tmp_path / "flat.mp4", 20)
    out = pack(tmp_path / "flat", "--video", still, "--divergence-level", "1", "--size", "12")  # fewer than 300 pixels
    assert "0 records of 1 clips" in out and "2 left out for too few holes" in out
    assert "packed before" in pack(tmp_path / "flat", "--video", still, "--divergence-level", "1", "--size", "12")


def test_no_clip_straddles_a_cut(clips, tmp_path):
    out = pack(tmp_path, "--video", clips / "bikes.mp4")
    assert int(re.search(r"(\d+) cuts", out)[1]) >= 2
    starts = {record.info["start_frame"] for record in records(tmp_path)}
    assert not any(start < cut < start + 16 for start in starts for cut in (30, 137))


def test_a_learned_mask_replaces_the_holes_of_upright_clips_alone(film, tmp_path, monkeypatch):
    asked = []

    def hole_mask(network, depth, divergence, convergence, curve, size):
        asked.append((network, depth.shape[0], tuple(size)))
        mask = torch.zeros(depth.shape[0], 1, *size, dtype=torch.bool)
        mask[..., ::3] = True
        return mask

    monkeypatch.setattr("pack.pipeline.hole_mask", hole_mask)
    monkeypatch.setattr(workers, "load_mask_network", lambda path, device: "the network")
    weights = tmp_path / "mask.pth"
    weights.write_bytes(b"weights")
    pack(tmp_path / "plain", "--video", film)
    pack(tmp_path / "learned", "--video", film, "--mask-model", weights)
    plain = {record.key: record for record in records(tmp_path / "plain")}
    learned = {record.key: record for record in records(tmp_path / "learned")}
    assert asked[0][:2] == ("the network", 2) and len(asked) == 3 * 8
    for key, record in learned.items():
        if record.info["mirrored"]:
            assert np.array_equal(record.masks, plain[key].masks) and record.info == plain[key].info
        else:
            assert record.info["mask"] == "mask_mlbw" and abs(record.info["hole_share"] - 1 / 3) < 0.01
    weights.write_bytes(b"other weights")
    assert "mask_model is" in refuse(tmp_path / "learned", "--video", film, "--mask-model", weights)


# The same command gives the same bytes


def test_threads_and_processes_do_not_change_a_byte(clips, tmp_path, monkeypatch):
    monkeypatch.undo()  # with the real depth model
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    words = (
        "--video",
        clips / "bikes.mp4",
        "--max-fps",
        "6",
        "--seq",
        "12",
        "--resolution",
        "256",
        "--batch-size",
        "1",
    )
    for threads in (1, 3):
        monkeypatch.setattr(workers, "cores", lambda threads=threads: threads)
        pack(tmp_path / str(threads), *words)
    assert digests(tmp_path / "1") == digests(tmp_path / "3")
    assert len(records(tmp_path / "1")) >= 2


def test_workers_and_ranks_do_not_change_a_byte(shorts, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    out = pack(tmp_path / "one", "--video", shorts, "--max-workers", "1")
    assert "3 videos packed" in out
    out = pack(tmp_path / "workers", "--video", shorts, "--max-workers", "2")
    assert "3 videos packed" in out
    assert digests(tmp_path / "one") == digests(tmp_path / "workers") != {}

    (tmp_path / "bad.mp4").write_bytes(b"no video")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["--video", str(shorts), str(tmp_path / "bad.mp4"), "-o", str(tmp_path / "ranks")]
    done = subprocess.run(
        [*launcher, str(ROOT / "pack/main.py"), *SMALL, *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert digests(tmp_path / "one") == digests(tmp_path / "ranks")  # no rank was ended by the other's failure
    assert done.returncode == 1 and "3 videos packed" in done.stdout and "failed: " in done.stderr


def test_a_killed_packing_goes_on_with_the_open_part_and_ends_with_the_same_bytes(clips, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    words = ("--video", clips / "bikes.mp4", "--max-fps", "8", "--max-shard-bytes", "1000")  # a part for each clip
    pack(tmp_path / "whole", *words)
    whole = digests(tmp_path / "whole")
    assert len(whole) >= 4
    process = start(*words, "-o", tmp_path / "killed")
    wait_for(lambda: list((tmp_path / "killed").glob("*.json")), process)
    process.kill()
    process.communicate()
    found = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("*.json")}
    assert 0 < len(found) < len(whole) // 2, "the kill came too late"
    pack(tmp_path / "killed", *words)
    assert digests(tmp_path / "killed") == whole
    assert all(path.stat().st_mtime_ns == when for path, when in found.items())


@pytest.mark.parametrize(("number", "status", "count"), [(signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 1)])
def test_a_signal_ends_a_packing_cleanly(shorts, tmp_path, number, status, count):
    process = start("--video", shorts, "-o", tmp_path, "--max-workers", count, start_new_session=True)
    wait_for(lambda: len(list(tmp_path.glob("*.tmp"))) == count, process)
    time.sleep(0.2)
    os.killpg(process.pid, number)  # as a terminal's Ctrl-C and a scheduler do
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert len(lines(err)) == 1 and not list(tmp_path.glob("*.tmp"))


def test_workers_end_with_a_parent_that_is_killed(videos, tmp_path):
    process = start("--video", videos, "-o", tmp_path, "--max-workers", "2", stdout=None, stderr=None)
    wait_for(lambda: len(list(tmp_path.glob("*.tmp"))) == 2, process)
    children = children_of(process)
    process.kill()
    process.wait()
    assert len(children) >= 2
    deadline = time.monotonic() + 60
    while any(is_running(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_worker_that_is_killed_is_one_line(videos, tmp_path):
    process = start("--video", videos, "-o", tmp_path, "--max-workers", "2")
    wait_for(lambda: len(list(tmp_path.glob("*.tmp"))) == 2, process)
    workers = [pid for pid in children_of(process) if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(int(workers[0]), signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert len(lines(err)) == 1 and "ended with status -9" in err
    assert len(list_shards(tmp_path)) == 2  # the other one packed what it could


def children_of(process):
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# What is there already


def test_what_is_packed_is_skipped(film, tmp_path):
    pack(tmp_path, "--video", film)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    out = pack(tmp_path, "--video", film)
    assert "packed before" in out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_other_settings_under_the_same_name_are_refused_by_name(film, tmp_path):
    pack(tmp_path, "--video", film)
    before = digests(tmp_path)
    line = refuse(tmp_path, "--video", film, "--max-fps", "24", "--seed", "3")
    assert "max_fps is 24.0, was 30.0" in line and "seed is 3, was 71" in line and "--overwrite" in line
    assert "size is" not in line
    assert digests(tmp_path) == before
    pack(tmp_path, "--video", film, "--max-fps", "24", "--prefix", "slow")
    assert len(list_shards(tmp_path)) == 2


def test_settings_that_no_record_depends_on_may_change(film, tmp_path):
    pack(tmp_path, "--video", film)
    words = ("--max-workers", "1", "--device", "cpu", "--max-fps", "30", "--max-shard-bytes", "1000MB")
    assert "packed before" in pack(tmp_path, "--video", film, *words)


def test_another_video_of_the_same_name_is_refused(film, tmp_path):
    pack(tmp_path / "out", "--video", film)
    other = make_video(tmp_path / film.name, 30, seed=9)
    line = refuse(tmp_path / "out", "--video", other)
    assert "bytes is" in line and "sha256_of_ends is" in line


def test_overwriting_replaces_all_parts(film, tmp_path):
    pack(tmp_path, "--video", film, "--max-shard-bytes", "1000")
    assert len(list_shards(tmp_path)) > 1
    pack(tmp_path, "--video", film, "--overwrite")
    assert [shard.name[-6:] for shard in list_shards(tmp_path)] == ["-00000"] and len(list(tmp_path.iterdir())) == 2
    assert "packed before" in pack(tmp_path, "--video", film)


def test_an_overwriting_that_stops_leaves_nothing_of_the_old_packing(film, tmp_path, monkeypatch):
    pack(tmp_path, "--video", film, "--max-shard-bytes", "1000")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pack.film.make_records", stop)
    status, _, _ = run_program(program.main, "-o", tmp_path, *SMALL, "--video", film, "--overwrite", "--seed", "5")
    assert status == 130
    assert list(tmp_path.iterdir()) == []


def test_a_video_becomes_several_parts_that_hold_the_same_records(film, tmp_path):
    pack(tmp_path / "one", "--video", film)
    pack(tmp_path / "many", "--video", film, "--max-shard-bytes", "1000")
    one, many = list_shards(tmp_path / "one"), list_shards(tmp_path / "many")
    assert len(one) == 1 and len(many) > 1
    assert [entry.key for shard in many for entry in shard.records] == [entry.key for entry in one[0].records]
    for a, b in zip(records(tmp_path / "one"), records(tmp_path / "many"), strict=True):
        assert np.array_equal(a.frames, b.frames) and np.array_equal(a.masks, b.masks) and a.info == b.info
    assert [shard.source["last"] for shard in many] == [False] * (len(many) - 1) + [True]
    assert [shard.source["part"] for shard in many] == list(range(len(many)))
    assert [shard.source["first_clip"] for shard in many[1:]] == [shard.source["next_clip"] for shard in many[:-1]]


def test_a_part_that_was_taken_away_is_made_again(film, tmp_path):
    pack(tmp_path, "--video", film, "--max-shard-bytes", "1000")
    before = digests(tmp_path)
    for path in tmp_path.glob("*-00001.*"):
        path.unlink()
    pack(tmp_path, "--video", film, "--max-shard-bytes", "1000")
    assert digests(tmp_path) == before


def test_a_dry_run_lists_what_is_done_and_what_is_to_do_and_writes_nothing(videos, tmp_path):
    out = succeeds(program.main, "-o", tmp_path / "out", *SMALL, "--video", videos, "--dry-run")
    assert out.count("to do, about") == 3 and not (tmp_path / "out").exists()
    pack(tmp_path / "out", "--video", videos / "film1.mp4")
    out = succeeds(program.main, "-o", tmp_path / "out", *SMALL, "--video", videos, "--dry-run")
    assert out.count("to do") == 2 and out.count("film1.mp4") == 1 and out.count(" done, ") == 1
    words = ("--video", videos, "--dry-run", "--seed", "4")
    status, out, _ = run_program(program.main, "-o", tmp_path / "out", *SMALL, *words)
    assert status == 1 and "clashes: seed is 4, was 71" in out


# Mistakes and accidents


def test_one_bad_video_among_several_is_named_at_the_end(shorts, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    words = ("--video", shorts, tmp_path / "bad.mp4", "-o", tmp_path / "out", *SMALL)
    status, out, err = run_program(program.main, *words)
    assert status == 1
    assert "3 videos packed" in out and "1 failed" in out
    assert err.count("\n") == 1 and err.startswith("failed: ") and "bad.mp4" in err
    assert len(list_shards(tmp_path / "out")) == 3


def test_a_video_that_may_not_be_read_does_not_stop_the_others(shorts, tmp_path, monkeypatch):
    from pack import film
    from pack.sources import fingerprint

    def may_not(path):
        if path.name == "short1.mp4":
            raise PermissionError(13, "Permission denied", str(path))
        return fingerprint(path)

    monkeypatch.setattr(film, "fingerprint", may_not)
    status, out, err = run_program(program.main, "--video", shorts, "-o", tmp_path, *SMALL)
    assert status == 1 and "2 videos packed" in out
    assert err.startswith("failed: ") and "Permission denied" in err and "short1.mp4" in err


def test_a_gpu_that_is_too_small_is_one_line(film, tmp_path, monkeypatch):
    def fill_up(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("pack.film.make_records", fill_up)
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


def test_videos_that_are_not_there_are_named(tmp_path):
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


def test_a_split_that_cannot_be_made_is_one_line(film, tmp_path):
    (tmp_path / "file").touch()
    line = refuse(tmp_path / "file" / "train", "--video", film)
    assert "cannot write to" in line and "--data-dir" in line


def test_a_disk_that_fills_up_keeps_what_was_published_and_nothing_half_written(videos, tmp_path):
    words = (
        "--video",
        videos,
        "-o",
        tmp_path,
        "--max-workers",
        "1",
        "--max-shard-bytes",
        "1000",
        "--image-format",
        "png",
    )
    process = start(*words, preexec_fn=lambda: limit_files(300_000))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert len(lines(err)) == 1 and "cannot write to" in err and "File too large" in err
    assert not list(tmp_path.glob("*.tmp"))
    for path in tmp_path.glob("*.tar"):
        assert path.with_suffix(".json").exists()


def limit_files(size):
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_gpu_that_is_not_there_is_one_line(film, tmp_path):
    count = torch.cuda.device_count()
    assert f"found {count} GPUs" in refuse(tmp_path, "--video", film, "--device", f"cuda:{count}")


# Small parts


def test_sizes_are_read_with_and_without_units():
    assert [parse_bytes("--x", text) for text in ("1GB", "1.5 MB", "2KiB", "77")] == [10**9, 1_500_000, 2048, 77]


def test_shares_of_videos_are_all_of_them_and_even(tmp_path):
    sizes = [900, 500, 400, 300, 200, 100]
    for number, size in enumerate(sizes):
        (tmp_path / f"{number}.mp4").write_bytes(bytes(size))
    paths = find_videos([str(tmp_path)])
    for world in (1, 2, 4):
        shares = [share(paths, rank, world) for rank in range(world)]
        assert sorted(path for part in shares for path in part) == paths
        for part in shares:
            assert part == sorted(part, key=lambda path: -path.stat().st_size)
    assert {sum(path.stat().st_size for path in share(paths, rank, 2)) for rank in range(2)} == {1200}


def test_files_folders_and_globs_name_each_video_once(tmp_path):
    for name in ("a.mp4", "b.MKV", "notes.txt", "[x].webm"):
        (tmp_path / name).touch()
    found = find_videos([str(tmp_path), str(tmp_path / "*.mp4"), str(tmp_path / "a.mp4"), str(tmp_path / "[x].webm")])
    assert [path.name for path in found] == ["[x].webm", "a.mp4", "b.MKV"]
