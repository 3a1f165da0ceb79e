"""What packing makes of what is there already."""

import json

import numpy as np
import pytest

from pack import main as program
from pack.shards.shard import list_shards
from tests.pack.video.test_fields import encode, interlaced
from tests.support.media.films import SMALL, digests, make_video, pack, records, refuse
from tests.support.programs import run_program, succeeds

pytestmark = pytest.mark.usefixtures("quick_depth")


@pytest.mark.slow
def test_a_packed_video_is_skipped(film, tmp_path):
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


def test_settings_that_do_not_affect_records_may_change(film, tmp_path):
    pack(tmp_path, "--video", film)
    words = ("--max-workers", "1", "--device", "cpu", "--max-fps", "30", "--max-shard-bytes", "1000MB")
    assert "packed before" in pack(tmp_path, "--video", film, *words)


def packed_before(folder, setting):
    """Take a setting out of all indexes, as if the shards were from before it existed."""
    for path in folder.glob("*.json"):
        index = json.loads(path.read_text())
        index["config"].pop(setting, None)
        path.write_text(json.dumps(index))


def test_shards_of_progressive_film_from_before_deinterlacing_are_continued(film, tmp_path):
    pack(tmp_path, "--video", film, "--deinterlace", "off", "--max-shard-bytes", "1000")
    packed_before(tmp_path, "deinterlace")
    before = digests(tmp_path)
    for path in tmp_path.glob("*-00001.*"):
        path.unlink()
    pack(tmp_path, "--video", film, "--max-shard-bytes", "1000")
    assert {name: data for name, data in digests(tmp_path).items() if name.endswith("tar")} == {
        name: data for name, data in before.items() if name.endswith("tar")
    }
    assert 'deinterlace is "on", was "off"' in refuse(
        tmp_path, "--video", film, "--max-shard-bytes", "1000", "--deinterlace", "on"
    )


def test_shards_of_interlaced_film_from_before_deinterlacing_are_continued_as_they_were_or_refused(tmp_path):
    video = encode(tmp_path / "a.mkv", interlaced(40), order="tff")
    words = ("--video", video, "--short-sides", "96", "--size", "96")
    pack(tmp_path / "out", *words, "--deinterlace", "off")
    packed_before(tmp_path / "out", "deinterlace")
    assert 'deinterlace is "auto", was "off": pass the earlier settings' in refuse(tmp_path / "out", *words)
    assert "packed before" in pack(tmp_path / "out", *words, "--deinterlace", "off")


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


def test_an_interrupted_overwrite_leaves_no_old_shards(film, tmp_path, monkeypatch):
    pack(tmp_path, "--video", film, "--max-shard-bytes", "1000")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pack.packing.make_records", stop)
    status, _, _ = run_program(program.main, "-o", tmp_path, *SMALL, "--video", film, "--overwrite", "--seed", "5")
    assert status == 130
    assert list(tmp_path.iterdir()) == []


def test_several_parts_of_a_video_hold_the_same_records_as_one(film, tmp_path):
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


def test_a_deleted_part_is_packed_again(film, tmp_path):
    pack(tmp_path, "--video", film, "--max-shard-bytes", "1000")
    before = digests(tmp_path)
    for path in tmp_path.glob("*-00001.*"):
        path.unlink()
    pack(tmp_path, "--video", film, "--max-shard-bytes", "1000")
    assert digests(tmp_path) == before


def test_a_dry_run_lists_what_is_done_and_what_is_to_do_and_writes_nothing(films, tmp_path):
    out = succeeds(program.main, "-o", tmp_path / "out", *SMALL, "--video", films, "--dry-run")
    assert out.count("to do, about") == 3 and not (tmp_path / "out").exists()
    pack(tmp_path / "out", "--video", films / "film1.mp4")
    out = succeeds(program.main, "-o", tmp_path / "out", *SMALL, "--video", films, "--dry-run")
    assert out.count("to do") == 2 and out.count("film1.mp4") == 1 and out.count(" done, ") == 1
    words = ("--video", films, "--dry-run", "--seed", "4")
    status, out, _ = run_program(program.main, "-o", tmp_path / "out", *SMALL, *words)
    assert status == 1 and "clashes: seed is 4, was 71" in out
