import pytest
import torch

from pack.shards import shard
from pack.shards.record import encode
from pack.shards.shard import ShardWriter, read_record
from tests.support.programs import refused
from tests.support.shards import texture_record
from tools.cli import UserError
from tools.edge_study.__main__ import Config, border, main, parts, stretched, strip_psnr


def test_a_picture_that_changes_along_x_alone_is_stretched_by_the_share_of_preserve_screen_border():
    ramp = torch.arange(100.0).expand(2, 3, 8, 100) / 100
    holes = torch.zeros(2, 1, 8, 100, dtype=torch.bool)
    holes[..., :10] = True
    found = stretched(ramp.masked_fill(holes, 0), holes)[0, 0, 0] * 100
    assert found[0].item() == pytest.approx(10)
    assert found[5].item() == pytest.approx(10 + 5 * 15 / 25)
    assert torch.allclose(found[25:], ramp[0, 0, 0, 25:] * 100)


def test_a_fill_sees_nothing_of_the_strip_that_it_is_measured_in():
    frames = torch.rand(12, 3, 32, 32)
    seen = []
    strip_psnr(frames, 5, lambda visible, holes: seen.append((visible, holes)) or visible)
    visible, holes = seen[0]
    assert holes[..., :5].all() and not holes[..., 5:].any() and (visible[..., :5] == 0).all()


def test_the_border_is_perfect_where_columns_are_equal():
    assert strip_psnr(torch.rand(12, 3, 32, 1).expand(-1, -1, -1, 32), 5, border) == pytest.approx(100)


def test_no_more_records_are_measured_than_asked_for(tmp_path, monkeypatch):
    with ShardWriter(tmp_path / "s.tar") as writer:
        for number in range(3):
            record = texture_record(number)
            writer.add(record.key, encode(record, "png"))
        writer.publish({"video": "v"}, {})
    read = []
    monkeypatch.setattr(shard, "read_record", lambda *words: read.append(words) or read_record(*words))
    found = parts(Config(str(tmp_path), widths=(4,), tile=64, clips=2))
    assert [frames.shape for frames in found] == [(12, 3, 64, 64)] * 2 and len(read) == 2


def test_widths_that_leave_too_little_of_the_tile_are_refused():
    assert "wider than 2.5 strips" in refused(main, "--widths", "120", "--tile", "256")


def test_a_fill_of_nan_is_refused():
    with pytest.raises(UserError, match="not finite"):
        strip_psnr(torch.rand(12, 3, 32, 32), 5, lambda visible, holes: visible / 0)
