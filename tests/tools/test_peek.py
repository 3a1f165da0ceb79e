from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from pack.shards.index import Index
from tests.support.programs import refused, succeeds
from tests.support.shards import texture_record
from tests.tools.test_verify import record, write_shard
from tools.inspection.contact_sheet import (
    FONT_SIZE,
    HIDDEN,
    HIDDEN_TWICE,
    break_lines,
    choose,
    describe,
    draw_frame,
    draw_record,
)
from tools.peek import main


def test_the_overlay_tints_hidden_pixels_alone():
    one = record("k", size=32)
    frame, holes, overlay = (np.asarray(image) for image in draw_frame(one.frames[0], one.masks[0], 32))
    mask = one.masks[0]
    assert np.array_equal(frame, one.frames[0])
    assert np.array_equal(holes[..., 1], mask)
    assert np.array_equal(overlay[mask == 0], frame[mask == 0])
    for level, colour in ((255, HIDDEN), (128, HIDDEN_TWICE)):
        assert np.allclose(overlay[mask == level], 0.3 * frame[mask == level] + 0.7 * np.array(colour), atol=1)


def test_records_are_chosen_evenly_from_first_to_last(tmp_path):
    shards = [
        write_shard(tmp_path / f"{name}.tar", [f"{name}_{number}_0" for number in range(5)]) for name in ("a", "b")
    ]
    assert [entry.key for _, entry in choose(shards, 4)] == ["a_0_0", "a_3_0", "b_1_0", "b_4_0"]
    assert len(choose(shards, 99)) == 10
    ((shard, entry),) = choose(shards, 4, ("b_2_0",))
    assert (shard.name, entry.key) == ("b", "b_2_0")


def test_lines_of_text_fit_and_lose_no_word():
    font = ImageFont.load_default(FONT_SIZE)
    text = describe({f"name{i}": i / 7 for i in range(30)})
    lines = break_lines(text, font, 300)
    assert all(font.getlength(line) <= 300 for line in lines)
    assert "   ".join(lines) == text


def test_parameters_of_every_kind_are_written_out():
    assert describe({"b": [1, None], "a": 0.123456, "c": {"x": "y"}, "d": True}) == (
        "a 0.1235   b [1, null]   c (x y)   d true"
    )


def test_a_record_shorter_than_the_chosen_frames_shows_those_it_has(tmp_path):
    shard = write_shard(tmp_path / "a.tar", ["a_1_0"])
    three = draw_record(record("a_1_0"), shard, (0, 1, 2), 100)
    assert draw_record(record("a_1_0"), shard, (0, 1, 2, 15), 100).tobytes() == three.tobytes()
    assert draw_record(record("a_1_0"), shard, (9,), 100).width < three.width


def test_the_program_writes_a_picture_of_a_split_and_of_a_shard(tmp_path):
    shard = write_shard(tmp_path / "a.tar", ["a_1_0", "a_2_0"])
    for data in (tmp_path, shard.tar):
        out = succeeds(main, "-i", data, "-o", tmp_path / "x.png", "--tile", 64, "--frames", 0, 2)
        assert "2 records" in out
        with Image.open(tmp_path / "x.png") as sheet:
            assert sheet.width >= 6 * 64 and sheet.height >= 2 * 64
    assert [path.name for path in tmp_path.glob("*.tmp")] == []


@pytest.mark.parametrize("words", [("--key", "none"), ("--records", 0)])
def test_a_mistake_is_one_line_and_no_picture(tmp_path, words):
    write_shard(tmp_path / "a.tar", ["a_1_0"])
    refused(main, "-i", tmp_path, "-o", tmp_path / "x.png", *words)
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("text", ["a   " * 250_000, "a" * 10**6, "a\n\x1b[0m" * 10**5], ids=["words", "word", "lines"])
def test_a_long_text_of_a_record_makes_no_large_picture(text):
    record = texture_record(0, 2, 64)
    record.info["note"] = text
    sheet = draw_record(record, Index(Path("s.tar"), 0, "", (), {}, {}), (0,), 64)
    assert sheet.height * sheet.width < 1 << 24
