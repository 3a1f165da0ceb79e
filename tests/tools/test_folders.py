import json

import numpy as np
import pytest
from PIL import Image

from pack.shards.record import decode, encode
from pack.shards.shard import list_shards, read_record
from tests.support.programs import refused, succeeds
from tests.tools.test_verify import record, write_records
from tools import folders
from tools.inspection.shard_checks import check_splits


def write_iw3(folder, frames=12, size=16):
    """A record folder as iw3 writes it; gives its pixels."""
    one = record(folder.name, frames, size)
    folder.mkdir(parents=True)
    for t in range(frames):
        Image.fromarray(one.frames[t]).save(folder / f"{t:04d}_C.png")
        Image.fromarray(one.masks[t]).save(folder / f"{t:04d}_M.png")
    return one


def records_of(folder):
    return {entry.key: decode(entry.key, read_record(s, entry)) for s in list_shards(folder) for entry in s.records}


def entries(folder):
    return {(entry.key, entry.length, entry.crc32) for shard in list_shards(folder) for entry in shard.records}


def pixels(path):
    with Image.open(path) as image:
        return image.mode, np.asarray(image)


@pytest.mark.parametrize("image_format", ["webp", "png"])
def test_folders_come_back_from_shards_pixel_for_pixel(tmp_path, image_format):
    made = [write_iw3(tmp_path / "iw3" / key, frames) for key, frames in (("p_1_0", 12), ("p_2_0", 16), ("p_3_0", 17))]
    succeeds(folders.main, "--from-folders", tmp_path / "iw3", "-o", tmp_path / "train", "--image-format", image_format)
    assert [report.faults for report in check_splits([tmp_path / "train"])] == [()]
    for key, found in records_of(tmp_path / "train").items():
        one = next(one for one in made if one.key == key)
        assert np.array_equal(found.frames, one.frames) and np.array_equal(found.masks, one.masks)
        assert found.info == {"imported": "iw3"}
    succeeds(folders.main, "--from-shards", tmp_path / "train", "-o", tmp_path / "back")
    files = sorted(path.relative_to(tmp_path / "iw3") for path in (tmp_path / "iw3").rglob("*.png"))
    assert files == sorted(path.relative_to(tmp_path / "back") for path in (tmp_path / "back").rglob("*.png"))
    for name in files:
        (mode, before), (mode_after, after) = pixels(tmp_path / "iw3" / name), pixels(tmp_path / "back" / name)
        assert mode == mode_after and np.array_equal(before, after)


def test_shards_come_back_from_folders_byte_for_byte_with_how_they_were_made(tmp_path):
    keys = ["p_1_0", "p_2_0"]
    write_records(tmp_path / "a" / "x.tar", [(key, encode(record(key, 12))) for key in keys])
    succeeds(folders.main, "--from-shards", tmp_path / "a", "-o", tmp_path / "folders")
    succeeds(folders.main, "--from-folders", tmp_path / "folders", "-o", tmp_path / "b")
    assert entries(tmp_path / "a") == entries(tmp_path / "b")
    assert records_of(tmp_path / "b")["p_1_0"].info == {"divergence": 2.5}


def test_train_and_eval_stay_apart_both_ways(tmp_path):
    for place in ("train/p_1_0", "train/p_2_0", "eval/p_3_0"):
        write_iw3(tmp_path / "iw3" / place)
    succeeds(folders.main, "--from-folders", tmp_path / "iw3", "-o", tmp_path / "data")
    assert set(records_of(tmp_path / "data" / "train")) == {"p_1_0", "p_2_0"}
    assert set(records_of(tmp_path / "data" / "eval")) == {"p_3_0"}
    succeeds(folders.main, "--from-shards", tmp_path / "data", "-o", tmp_path / "back")
    assert sorted(path.name for path in (tmp_path / "back").glob("*/*")) == ["p_1_0", "p_2_0", "p_3_0"]
    assert (tmp_path / "back" / "eval" / "p_3_0").is_dir()


def test_the_number_of_threads_does_not_change_a_byte_and_no_shard_is_too_large(tmp_path):
    for number in range(5):
        write_iw3(tmp_path / "iw3" / f"p_{number}_0")
    limit = 100_000
    for workers in (1, 4):
        succeeds(
            folders.main,
            *("--from-folders", tmp_path / "iw3", "-o", tmp_path / f"w{workers}"),
            *("--max-shard-bytes", limit, "--workers", workers),
        )
    one, four = list_shards(tmp_path / "w1"), list_shards(tmp_path / "w4")
    assert len(one) > 1 and [shard.sha256 for shard in one] == [shard.sha256 for shard in four]
    assert all(shard.tar.stat().st_size <= limit for shard in one)
    assert sum(len(shard.records) for shard in one) == 5
    succeeds(folders.main, "--from-folders", tmp_path / "iw3", "-o", tmp_path / "tiny", "--max-shard-bytes", "1KB")
    assert [len(shard.records) for shard in list_shards(tmp_path / "tiny")] == [1] * 5


def spoil_size(folder):
    Image.new("RGB", (8, 16)).save(folder / "0003_C.png")


def spoil_alpha(folder):
    Image.new("RGBA", (16, 16)).save(folder / "0003_C.png")


def spoil_depth(folder):
    Image.fromarray(np.full((16, 16), 300, np.uint16)).save(folder / "0003_M.png")


def spoil_level(folder):
    Image.new("L", (16, 16), 7).save(folder / "0003_M.png")


SPOILED = {
    "has 0003_M.png without 0003_C.png": lambda folder: (folder / "0003_C.png").unlink(),
    "has 0003_C.png without 0003_M.png": lambda folder: (folder / "0003_M.png").unlink(),
    "has 0 pairs": lambda folder: [path.unlink() for path in folder.iterdir()],
    "0003_C.png: is 8x16": spoil_size,
    "0003_C.png: cannot be read as an image (mode RGBA": spoil_alpha,
    "0003_M.png: cannot be read as an image (found an image of 16 bits": spoil_depth,
    "a mask has the value 7": spoil_level,
    "0003_C.png: cannot be read as an image": lambda folder: (folder / "0003_C.png").write_bytes(b"\x89PNG"),
    "record.json: cannot be read as JSON (": lambda folder: (folder / "record.json").write_text("{"),
    "record.json: cannot be read as a JSON object": lambda folder: (folder / "record.json").write_text("[]"),
}


@pytest.mark.parametrize("found", SPOILED)
def test_a_spoiled_folder_is_one_line_with_its_name_and_no_shard(tmp_path, found):
    write_iw3(tmp_path / "iw3" / "p_1_0")
    write_iw3(tmp_path / "iw3" / "p_2_0")
    SPOILED[found](tmp_path / "iw3" / "p_2_0")
    line = refused(folders.main, "--from-folders", tmp_path / "iw3", "-o", tmp_path / "train")
    assert found in line and "iw3/p_2_0" in line
    assert list((tmp_path / "train").glob("*")) == []


def test_fewer_than_12_frames_are_refused(tmp_path):
    write_iw3(tmp_path / "iw3" / "p_1_0", frames=11)
    assert "p_1_0: has 11 pairs" in refused(folders.main, "--from-folders", tmp_path / "iw3", "-o", tmp_path / "train")


@pytest.mark.parametrize("key", ["a.b_1_0", "x" * 95])
def test_a_name_that_cannot_be_a_key_is_refused_before_any_work(tmp_path, key):
    write_iw3(tmp_path / "iw3" / "a_1_0")
    (tmp_path / "iw3" / key).mkdir()
    assert key in refused(folders.main, "--from-folders", tmp_path / "iw3", "-o", tmp_path / "train")
    assert not (tmp_path / "train").exists()


@pytest.mark.parametrize("key", ["../p_1_0", "/tmp/p", ""])
def test_a_key_that_leads_out_of_the_folder_is_refused(tmp_path, key):
    index = write_records(tmp_path / "a" / "x.tar", [("p_1_0", encode(record("p_1_0", 12)))])
    path = index.tar.with_suffix(".json")
    path.write_text(path.read_text().replace('"p_1_0"', json.dumps(key)))
    refused(folders.main, "--from-shards", tmp_path / "a", "-o", tmp_path / "folders")
    assert not (tmp_path / "folders").exists()


def test_what_is_there_is_never_overwritten(tmp_path):
    write_iw3(tmp_path / "iw3" / "p_1_0")
    words = ("--from-folders", tmp_path / "iw3", "-o", tmp_path / "train")
    succeeds(folders.main, *words)
    before = {path: path.read_bytes() for path in (tmp_path / "train").iterdir()}
    assert "pass another --name" in refused(folders.main, *words)
    assert "has record p_1_0 already" in refused(folders.main, *words, "--name", "other")
    assert "is there already" in refused(folders.main, "--from-shards", tmp_path / "train", "-o", tmp_path / "iw3")
    assert before == {path: path.read_bytes() for path in (tmp_path / "train").iterdir()}


def test_a_damaged_record_is_named_and_leaves_no_folder(tmp_path):
    index = write_records(tmp_path / "a" / "x.tar", [("p_1_0", encode(record("p_1_0", 12)))])
    data = bytearray(index.tar.read_bytes())
    data[2000] ^= 1
    index.tar.write_bytes(data)
    assert "record p_1_0: crc32" in refused(folders.main, "--from-shards", tmp_path / "a", "-o", tmp_path / "folders")
    assert list((tmp_path / "folders").iterdir()) == []


def test_missing_and_contradicting_flags_are_one_line(tmp_path):
    assert "either --from-folders or --from-shards" in refused(folders.main, "-o", "x")
    assert "-o is missing" in refused(folders.main, "--from-folders", tmp_path)
    assert "no such folder" in refused(folders.main, "--from-folders", tmp_path / "none", "-o", tmp_path / "x")
    assert "holds no record folder" in refused(folders.main, "--from-folders", tmp_path, "-o", tmp_path / "x")
    assert "is not a size" in refused(folders.main, "--from-folders", tmp_path, "-o", "x", "--max-shard-bytes", "much")
