from fractions import Fraction

import numpy as np
import pytest
import torch

from pack.shards.record import encode
from pack.shards.shard import ShardWriter, list_shards
from tests.support.programs import refused
from tests.support.shards import texture_record
from tools.mask_gap.__main__ import main
from tools.mask_gap.gap import Masks, overlap_lines, split_widths, verdict, width_lines
from tools.mask_gap.pictures import draw_row


def strip(width, first=10):
    masks = torch.zeros(2, 1, 20, 60, dtype=torch.bool)
    masks[..., first : first + width] = True
    return Masks(masks, 2)


def test_widths_count_at_1080p_and_pairs_overlap():
    film = {"forward": strip(6), "monobw": strip(6, 13)}
    lines = width_lines(film, {"forward": [np.array([12.0])]})
    assert [line.rsplit(maxsplit=1)[-1] for line in lines[2:]] == ["100", "0"] and "10.00" in lines[2]
    assert "12, 12, 12          12, 12, 12" in lines[2] and len({len(line) for line in lines[1:]}) == 1
    assert overlap_lines(film) == ["overlap of forward and monobw: 0.33"]


def test_a_verdict_asks_for_the_kind_and_for_its_widths():
    trained = {"forward": [np.linspace(4, 40, 100)] * 9, "monobw": [np.linspace(4, 8, 100)]}
    assert "forward: trained for this: 100 %" in verdict("forward", strip(6), trained)
    wider = verdict("monobw", strip(6), trained)
    assert "monobw: not trained for this: 0 %" in wider and wider.endswith("has shown, 100 % in wider ones")
    both = Masks(torch.cat([strip(3).masks, strip(3, 20).masks | strip(2).masks], -1), 2)  # 6, 6 and 4 px wide
    assert "forward: only partly trained for this: 75 %" in verdict("forward", both, {"forward": [np.full(9, 6.0)]})
    assert "mlbw: not trained for this: 0 % of the records" in verdict("mlbw", strip(6), trained)
    assert verdict("forward", strip(0), trained) == "forward: the film has no holes"


def test_records_count_for_their_kind(tmp_path):
    with ShardWriter(tmp_path / "s.tar") as writer:
        for number, mask in enumerate(("monobw", None)):
            record = texture_record(number)
            record.info.update({"mask": mask} if mask else {})
            writer.add(record.key, encode(record, "png"))
        writer.publish({"video": "v"}, {})
    found = split_widths([(shard, entry) for shard in list_shards(tmp_path) for entry in shard.records])
    assert set(found) == {"forward", "monobw"} and all(np.median(one[0]) == pytest.approx(6) for one in found.values())


def test_a_picture_has_a_named_part_for_each_kind():
    frame = torch.rand(3, 20, 60)
    one = draw_row(Fraction(1, 2), frame, {"forward": strip(6).masks[0]})
    two = draw_row(Fraction(1, 2), frame, {"forward": strip(6).masks[0], "monobw": strip(9).masks[0]})
    assert two.height == one.height and two.crop((0, 0, *one.size)).tobytes() == one.tobytes()
    other = draw_row(Fraction(1, 2), frame, {"monobw": strip(6).masks[0]})
    title = (0, 0, one.width, 19)
    assert one.crop(title).tobytes() != other.crop(title).tobytes()
    below = (0, 24, *one.size)
    assert one.crop(below).tobytes() == other.crop(below).tobytes()


def test_mistakes_are_one_line(tmp_path):
    assert "--video is missing" in refused(main)
    assert "--divergence above 0" in refused(main, "--video", "x.mp4", "--divergence", 0)
    (tmp_path / "a").touch()
    assert "Not a directory" in refused(main, "--video", "x.mp4", "-o", tmp_path / "a" / "gap.png")  # before the film


def test_records_without_a_hole_in_their_first_frame_have_shown_no_width():
    assert "forward: not trained for this" in verdict("forward", strip(6), {"forward": [np.zeros(0)]})
