import numpy as np
import pytest
import torch

from pack.shards.record import encode
from pack.shards.shard import ShardWriter, list_shards
from tests.support.programs import refused
from tests.support.shards import texture_record
from tools.mask_gap.__main__ import main
from tools.mask_gap.gap import Masks, overlap_lines, split_widths, verdict, width_lines


def strip(width, first=10):
    masks = torch.zeros(2, 1, 20, 60, dtype=torch.bool)
    masks[..., first : first + width] = True
    return Masks(masks, 2)


def test_widths_count_at_1080p_and_pairs_overlap():
    film = {"forward": strip(6), "monobw": strip(6, 13)}
    lines = width_lines(film, {"forward": [np.array([12.0])]})
    assert "10.00" in lines[1] and "12, 12, 12" in lines[1] and lines[1].endswith("100") and lines[2].endswith("0")
    assert overlap_lines(film) == ["overlap of forward and monobw: 0.33"]


def test_a_verdict_asks_for_the_kind_and_for_its_widths():
    trained = {"forward": [np.linspace(4, 40, 100)] * 9, "monobw": [np.linspace(4, 8, 100)]}
    assert "forward: trained for this: 100 %" in verdict("forward", strip(6), trained)
    assert "monobw: only partly trained for this: 0 %" in verdict("monobw", strip(6), trained)
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


def test_mistakes_are_one_line(tmp_path):
    assert "--video is missing" in refused(main)
    assert "--divergence above 0" in refused(main, "--video", "x.mp4", "--divergence", 0)
