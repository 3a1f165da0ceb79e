"""Files that FFmpeg cannot read up to their end."""

import errno
from pathlib import Path
from types import SimpleNamespace

import av
import pytest

from pack.video.container import demux, open_video
from pack.video.reader import read_frames
from tests.support.media.videos import moving, write
from tools.cli import UserError


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


UNREAD = Path("/proc/self/mem")  # reading its beginning is an error of input or output, as of a broken disk
ERRORS = ["EIO", "ESTALE", "EACCES", "ENOTCONN", "ECONNRESET", "EHOSTUNREACH", "ENOSPC"]


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_of_the_disk_or_of_the_network_is_no_damage_when_packets_are_read(name):
    class Container(SimpleNamespace):
        def demux(self, _):
            av.error.err_check(-getattr(errno, name))
            yield

    with pytest.raises(OSError) as raised:
        list(demux(Container(name=f"file:{UNREAD}"), []))
    assert raised.value.errno == getattr(errno, name)
    assert name == "ENOSPC" or raised.value.filename == str(UNREAD)


@pytest.mark.parametrize("name", ERRORS)
def test_nor_is_it_when_a_film_is_opened(tmp_path, monkeypatch, name):
    path = write(tmp_path / "a.mkv", moving(1))
    monkeypatch.setattr("pack.video.container.av.open", lambda *_, **__: av.error.err_check(-getattr(errno, name)))
    monkeypatch.setattr("pack.video.container.open", lambda *_, **__: open(UNREAD, "rb", 0), raising=False)
    with pytest.raises(OSError) as raised, open_video(path):
        pass
    assert raised.value.errno == getattr(errno, name)
    assert name == "ENOSPC" or raised.value.filename == str(path)


def test_a_truncated_matroska_is_damaged_although_ffmpeg_calls_it_an_error_of_input(tmp_path):
    path = write(tmp_path / "a.mkv", moving(1))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(OSError) as raised, av.open(str(path)):
        pass
    assert raised.value.errno == errno.EIO
    with pytest.raises(UserError, match="cut short or no video"), open_video(path):
        pass
