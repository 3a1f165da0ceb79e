"""What a stranger's KEY.json states never ends a measurement."""

import pytest

from pack.shards.record import encode
from pack.shards.shard import ShardWriter
from tests.support.shards import texture_record
from tools.evaluation.clips import FULL_WIDTH, Clip, read_clip
from tools.mask_gap.gap import split_widths

ODD = [None, 5, "x", [], {}, [0, 0], ["a", 1], [[1], [2]], [-4, 8], [1e308, 2], [True, True]]


@pytest.fixture
def record(tmp_path):
    def make(info):
        made = texture_record(0, 12, 72)
        made.info.update(info)
        with ShardWriter(tmp_path / "s.tar") as writer:
            writer.add(made.key, encode(made, "png"))
            shard = writer.publish({"video": ["no", "text"]}, {})
        return shard, shard.records[0]

    return make


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_a_size_or_a_name_that_is_none_is_as_if_it_were_missing(value, record):
    found = record({"frame_size": value, "video": value, "mask": value})
    clip = read_clip(*found, 64, "cpu")
    assert isinstance(clip, Clip) and clip.scale == 1 and clip.video in ("x", "s")
    assert all(len(widths) for widths in split_widths([found])["forward"])


def test_the_size_that_is_stated_scales_widths(record):
    assert read_clip(*record({"frame_size": [96, 64]}), 64, "cpu").scale == FULL_WIDTH / 96
