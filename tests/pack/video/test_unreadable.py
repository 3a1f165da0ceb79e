"""Files that FFmpeg cannot read up to their end."""

import errno

import av
import pytest

from pack.video.container import demux
from pack.video.reader import read_frames
from tests.support.media.videos import moving, write


def unreadable_apng(path):
    """An APNG whose fourth frame has a size that FFmpeg's demuxer does not support."""
    write(path, [frame.reformat(format="rgb24") for frame in moving(6)], "apng")
    data, place = bytearray(path.read_bytes()), -1
    for _ in range(4):
        place = data.index(b"fcTL", place + 1)
    data[place + 8 : place + 12] = b"\xff" * 4
    path.write_bytes(data)
    return path, av.PatchWelcomeError


def greedy_mov(path):
    """A MOV whose fourth frame is said to have a gigabyte."""
    write(path, moving(6), "mpeg4")
    data = bytearray(path.read_bytes())
    place = data.index(b"stsz") + 16 + 3 * 4
    data[place : place + 4] = bytes.fromhex("3fffffff")
    path.write_bytes(data)
    return path, av.MemoryError


@pytest.mark.parametrize("name, make", [("a.apng", unreadable_apng), ("a.mov", greedy_mov)])
def test_whatever_error_ends_a_file_the_frames_before_are_read_and_the_rest_is_named(tmp_path, caplog, name, make):
    path, error = make(tmp_path / name)
    with av.open(str(path)) as container, pytest.raises(error):
        list(container.demux(video=0))
    assert len(list(read_frames(path, 30))) == 3
    assert "cannot be read any further behind frame 3" in caplog.text or "3 of them are there" in caplog.text


def test_a_file_is_not_taken_for_damaged_where_memory_is_short(tmp_path, monkeypatch):
    path, _ = greedy_mov(tmp_path / "a.mov")

    def no_memory(*_):
        raise MemoryError

    monkeypatch.setattr("pack.video.container.np.empty", no_memory)
    with pytest.raises(MemoryError):
        list(read_frames(path, 30))


@pytest.mark.parametrize("name", ["EIO", "ESTALE", "EACCES", "ENOTCONN", "ECONNRESET", "EHOSTUNREACH", "ENOSPC"])
def test_an_error_of_the_disk_or_of_the_network_is_no_damage(name):
    class Container:
        def demux(self, _):
            av.error.err_check(-getattr(errno, name))
            yield

    with pytest.raises(OSError) as raised:
        list(demux(Container(), []))
    assert raised.value.errno == getattr(errno, name)
