"""HEVC, whose decoder detects no damage: what a recording's marks and the types of its pictures say."""

import av
import pytest

from pack.video.reader import read_frames, read_timed
from tests.pack.video.test_reader_damage import as_in, sudden
from tests.support.media.videos import write

HEVC = "log-level=none:keyint=12:min-keyint=12:scenecut=0:bframes=3:"


@pytest.mark.parametrize("groups", ["open-gop=1", "open-gop=0:radl=2"])
def test_no_broken_frame_is_read_of_a_recording_that_lost_packets_in_any_picture(tmp_path, groups):
    """The parser puts the container's mark on the packet before the one that lost something."""
    path = write(tmp_path / "a.ts", sudden(60), "libx265", options={"x265-params": HEVC + groups})
    whole = [picture.pixels for picture in read_timed(path, 30)]
    data = path.read_bytes()
    with av.open(str(path)) as container:
        keys = [packet.pos // 188 for packet in container.demux(video=0) if packet.is_keyframe]
    for start in (keys[2] + 3, keys[2] - 3, keys[3] + 20):  # in a key frame and in others
        path.write_bytes(data[: start * 188] + data[(start + 1) * 188 :])
        numbers = [as_in(picture.pixels, whole) for picture in read_timed(path, 30)]
        assert None not in numbers and 40 <= len(numbers) < 60, start


def test_a_joint_keeps_the_frames_that_need_nothing_before_their_key_frame(tmp_path, caplog):
    options = {"x265-params": HEVC + "open-gop=0:radl=2"}
    first, second = (
        write(tmp_path / f"{n}.ts", frames, "libx265", options=options)
        for n, frames in enumerate((sudden(36), sudden(72)[36:]))
    )
    with av.open(str(second)) as container:
        keys = [packet.pos for packet in container.demux(video=0) if packet.is_keyframe]
    data = second.read_bytes()
    (tmp_path / "joined.ts").write_bytes(first.read_bytes() + data[: 3 * 188] + data[keys[1] :])
    whole = [*read_frames(first, 10**6), *read_frames(second, 10**6)]
    numbers = [as_in(frame, whole) for frame in read_frames(tmp_path / "joined.ts", 10**6)]
    assert numbers == [*range(36), *range(46, 72)]  # the second's key frame is 48, and two are shown before it
    assert not caplog.records
