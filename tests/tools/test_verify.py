import errno
import io
import json
import os
import random
import shutil

import numpy as np
import pytest
from PIL import Image

from pack.shards.index import index_path
from pack.shards.record import MASK_LEVELS, Record, encode, encode_image
from pack.shards.shard import ShardWriter
from tests.support.programs import refused, run_program
from tools.inspection.shard_checks import check_splits, verify_shard
from tools.verify import main


def record(key, frames=3, size=16):
    """A record of noise whose pixels follow from its key."""
    rng = np.random.default_rng(list(key.encode()))
    pixels = rng.integers(0, 256, (frames, size, size, 3), dtype=np.uint8)
    masks = rng.choice(np.array(MASK_LEVELS, np.uint8), (frames, size, size), p=(0.9, 0.02, 0.08))
    return Record(key, pixels, masks, {"divergence": 2.5})


def write_records(tar, records, source=None):
    """The index of a new shard of these (key, members)."""
    with ShardWriter(tar) as writer:
        for key, members in records:
            writer.add(key, members)
        return writer.publish(source or {"video": "a.mp4"}, {"seed": 71})


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM])
@pytest.mark.parametrize("path", ["s.json", "s.tar"])
def test_a_shortage_is_no_fault_of_a_shard(number, path, tmp_path, monkeypatch):
    write_shard(tmp_path / "s.tar", "ab")

    def short(name, *words, **options):
        if str(name).endswith(path):
            raise OSError(number, os.strerror(number), str(name))
        return open(name, *words, **options)

    for module in ("pack.shards.store", "tools.cli.files"):
        monkeypatch.setattr(f"{module}.open", short, raising=False)
    with pytest.raises(OSError, match=os.strerror(number)):
        verify_shard(tmp_path / "s.tar")


def write_shard(tar, keys):
    return write_records(tar, [(key, encode(record(key))) for key in keys])


def faulty(tmp_path, **changes):
    """The faults of a shard with one record, members of which are changed, or removed where None."""
    members = encode(record("k")) | {name.replace("__", "."): data for name, data in changes.items()}
    whole = {name: data for name, data in members.items() if data is not None}
    return verify_shard(write_records(tmp_path / "a.tar", [("k", whole)]).tar)


def test_sound_shards_have_no_fault_and_their_holes_are_measured(tmp_path):
    write_shard(tmp_path / "a.tar", ["p_1_0", "p_2_0"])
    write_shard(tmp_path / "b.tar", ["p_3_0"])
    reports = check_splits([tmp_path], workers=2)
    assert [report.faults for report in reports] == [(), ()]
    expected = [100 * (record(key).masks > 0).mean() for key in ("p_1_0", "p_2_0", "p_3_0")]
    assert [hole for report in reports for hole in report.holes] == pytest.approx(expected)


def test_every_flipped_bit_and_every_cut_of_a_tar_is_caught(tmp_path):
    tar = write_shard(tmp_path / "a.tar", ["p_1_0", "p_2_0"]).tar
    data = tar.read_bytes()
    rng = random.Random(0)
    for _ in range(40):
        position = rng.randrange(len(data))
        flipped = bytearray(data)
        flipped[position] ^= 1 << rng.randrange(8)
        tar.write_bytes(flipped)
        assert verify_shard(tar), f"bit flipped at {position}"
        tar.write_bytes(data[:position])
        assert verify_shard(tar), f"cut at {position}"
        assert verify_shard(tar, fast=True), f"cut at {position}"
    tar.write_bytes(data)
    assert verify_shard(tar) == []


def test_a_flipped_bit_names_its_record_alone(tmp_path):
    index = write_shard(tmp_path / "a.tar", ["p_1_0", "p_2_0", "p_3_0"])
    data = bytearray(index.tar.read_bytes())
    data[index.records[1].offset + 600] ^= 1
    index.tar.write_bytes(data)
    sha, crc = verify_shard(index.tar)
    assert "found sha256" in sha
    assert crc.startswith(f"{index.tar} record p_2_0: crc32 of what was read differs") and "again" in crc


def test_fast_does_not_open_the_tar(tmp_path):
    tar = write_shard(tmp_path / "a.tar", ["p_1_0"]).tar
    tar.write_bytes(bytes(tar.stat().st_size))
    assert verify_shard(tar, fast=True) == []
    assert len(verify_shard(tar)) == 2


def test_swapped_shards_and_a_stale_index_are_caught(tmp_path):
    one = write_shard(tmp_path / "a.tar", ["p_1_0"])
    two = write_shard(tmp_path / "b.tar", ["p_2_0"])
    stale = index_path(one.tar).read_bytes()
    one.tar.rename(tmp_path / "c")
    two.tar.rename(one.tar)
    assert any("p_1_0" in fault for fault in verify_shard(one.tar))
    write_shard(one.tar, ["p_1_0", "p_4_0"])
    index_path(one.tar).write_bytes(stale)
    assert any("its index says" in fault for fault in verify_shard(one.tar, fast=True))
    shutil.move(index_path(two.tar), index_path(one.tar))
    assert any("is the index of b.tar" in fault for fault in verify_shard(one.tar))


def test_a_missing_or_empty_tar_is_one_fault(tmp_path):
    index = write_shard(tmp_path / "a.tar", ["p_1_0", "p_2_0"])
    index.tar.write_bytes(b"")
    assert len(verify_shard(index.tar)) == 1
    index.tar.unlink()
    (fault,) = verify_shard(index.tar)
    assert "is missing" in fault


@pytest.mark.parametrize("text", ["", "{", '{"version": 1}', '{"version": 1, "records": [{"key": 3}]}'])
def test_an_index_that_does_not_parse_is_a_fault(tmp_path, text):
    index = write_shard(tmp_path / "a.tar", ["p_1_0"])
    index_path(index.tar).write_text(text)
    assert len(verify_shard(index.tar)) == 1


def test_entries_of_a_wrong_type_are_a_fault(tmp_path):
    index = write_shard(tmp_path / "a.tar", ["p_1_0"])
    fields = json.loads(index_path(index.tar).read_text())
    for wrong in ("0", -1, None, 0.0):
        fields["records"][0]["offset"] = wrong
        index_path(index.tar).write_text(json.dumps(fields))
        (fault,) = verify_shard(index.tar)
        assert "is not the index of a shard" in fault


def test_records_that_the_index_does_not_name_are_caught(tmp_path):
    index = write_shard(tmp_path / "a.tar", ["p_1_0", "p_2_0", "p_3_0"])
    fields = json.loads(index_path(index.tar).read_text())
    records = fields["records"]
    for left, word in (([0, 1], "behind byte"), ([0, 2], "begins at byte"), ([1, 2], "expected 0")):
        index_path(index.tar).write_text(json.dumps(fields | {"records": [records[i] for i in left]}))
        faults = verify_shard(index.tar)
        assert len(faults) == 1 and word in faults[0]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"01_M__png": None}, "found 3 frames, 2 masks"),
        ({"json": None}, "expected one json"),
        ({"readme__txt": b"x"}, "8 members"),
        ({"json": b"[1]"}, "does not parse as an object"),
        ({"json": b"{"}, "does not parse as an object"),
        ({"01_C__webp": b"RIFF"}, "01_C.webp: cannot be decoded"),
        ({"02_M__png": encode(record("k"))["02_M.png"][:60]}, "02_M.png: cannot be decoded"),
        ({"01_C__webp": encode_image(np.zeros((8, 16, 3), np.uint8), "webp")}, "01_C.webp: has 16x8 pixels"),
        ({"01_M__png": encode_image(np.full((16, 16), 7, np.uint8), "png")}, "01_M.png: found the value 7"),
    ],
)
def test_a_record_that_was_packed_wrong_is_one_fault_that_names_it(tmp_path, changes, found):
    (fault,) = faulty(tmp_path, **changes)
    assert "a.tar record k" in fault and found in fault and "again" in fault and "\n" not in fault


@pytest.mark.parametrize("level", [0, 255])
def test_a_record_that_hides_nothing_or_everything_is_a_fault(tmp_path, level):
    blank = encode_image(np.full((16, 16), level, np.uint8), "png")
    (fault,) = faulty(tmp_path, **{f"0{t}_M__png": blank for t in range(3)})
    assert "of its pixels hidden" in fault


def test_any_garbling_of_an_image_is_a_fault_and_no_traceback(tmp_path):
    rng = random.Random(1)
    smooth = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(smooth, "PNG")
    for data, name in ((smooth.getvalue(), "00_C__png"), (encode(record("k"))["00_C.webp"], "00_C__webp")):
        for _ in range(40):
            garbled = bytearray(data)
            for _ in range(3):
                garbled[rng.randrange(len(garbled))] = rng.randrange(256)
            lost = {"00_C__webp": None} if name == "00_C__png" else {}
            assert isinstance(faulty(tmp_path, **{**lost, name: bytes(garbled)}), list)


def test_the_same_key_in_two_shards_of_any_split_is_a_fault(tmp_path):
    write_shard(tmp_path / "train" / "a.tar", ["p_1_0", "p_2_0"])
    write_shard(tmp_path / "eval" / "a.tar", ["p_2_0"])
    faults = check_splits([tmp_path / "train", tmp_path / "eval"], fast=True)[-1].faults
    assert len(faults) == 1 and "eval/a.tar record p_2_0: is in" in faults[0] and "train/a.tar" in faults[0]
    write_shard(tmp_path / "eval" / "a.tar", ["p_3_0", "p_3_0"])
    assert any(
        "two records are called p_3_0" in fault for fault in verify_shard(tmp_path / "eval" / "a.tar", fast=True)
    )


def test_what_a_killed_program_left_is_named(tmp_path):
    write_shard(tmp_path / "a.tar", ["p_1_0"])
    write_shard(tmp_path / "b.tar", ["p_2_0"])
    (tmp_path / "b.json").unlink()
    (tmp_path / "c.tar.tmp").write_bytes(b"x")
    a, b, c = check_splits([tmp_path], fast=True)
    assert (a.faults, len(b.faults), len(c.faults)) == ((), 1, 1)
    assert "never finished" in b.faults[0] and "half-written" in c.faults[0]


def test_the_program_prints_a_table_and_its_status_tells_faults_from_mistakes(tmp_path):
    index = write_shard(tmp_path / "a.tar", ["p_1_0", "p_2_0"])
    status, out, _ = run_program(main, "-i", tmp_path)
    assert status == 0
    assert out.splitlines()[1].split()[:3] == [str(index.tar), "2", str(index.bytes)]
    index.tar.write_bytes(index.tar.read_bytes()[:-2000])
    status, out, _ = run_program(main, "-i", tmp_path, "--fast")
    assert status == 1 and out.count("fault: ") == 1
    assert "no such folder" in refused(main, "-i", tmp_path / "none")


def test_a_split_that_is_given_twice_is_refused_since_no_shard_of_it_is_a_copy(tmp_path):
    write_shard(tmp_path / "train" / "a.tar", ["a_1_0"])
    (tmp_path / "link").symlink_to("train")
    for other in (tmp_path / "train", tmp_path / "link"):
        assert "is the same folder as" in refused(main, "--data", tmp_path / "train", other)
