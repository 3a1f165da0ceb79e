"""Slices of FFV1 whose checksums are wrong are damage, where the stream has checksums."""

import av
import numpy as np
import pytest

from pack.video.bitstream.ffv1 import SliceChecks
from pack.video.reader import read_frames, read_timed
from tests.support.media.videos import moving, write

CHECKED = {"level": "3", "slicecrc": "1", "slices": "4", "g": "1"}


def payloads(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("place", [10, 3000, -2, -7])  # in slices, in a checksum and in a size
def test_a_packet_with_a_changed_byte_is_not_whole(tmp_path, place):
    first, second = payloads(write(tmp_path / "a.mkv", moving(2), "ffv1", options=CHECKED))
    checks, changed = SliceChecks(), bytearray(second)
    changed[place] ^= 1
    assert checks.is_whole(first) and checks.is_whole(second) and checks.is_whole(b"")
    assert not checks.is_whole(bytes(changed))


def test_without_checksums_nothing_is_damage(tmp_path):
    plain = payloads(write(tmp_path / "a.mkv", moving(3), "ffv1", options=CHECKED | {"slicecrc": "0"}))
    checks = SliceChecks()
    assert all(map(checks.is_whole, plain)) and not checks.has_checksums


@pytest.mark.parametrize("group, lost", [("1", [4]), ("8", [4, 5, 6, 7])])
def test_frames_of_wrong_checksums_and_those_that_follow_from_them_are_left_out(tmp_path, caplog, group, lost):
    path = write(tmp_path / "a.mkv", moving(12), "ffv1", options=CHECKED | {"g": group})
    whole = list(read_frames(path, 10**6))
    assert len(whole) == 12 and not caplog.records
    data = bytearray(path.read_bytes())
    data[data.index(payloads(path)[4]) + 500] ^= 16
    path.write_bytes(data)
    found = list(read_timed(path, 10**6))
    assert [round(25 * picture.seconds) for picture in found] == [n for n in range(12) if n not in lost]
    assert all(np.array_equal(picture.pixels, whole[round(25 * picture.seconds)]) for picture in found)
    assert "is damaged from 0.16 s" in caplog.text
