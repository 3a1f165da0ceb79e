"""Sizes that no film has are not given memory: neither as pixels nor by the shape of a pixel."""

from fractions import Fraction

import av
import pytest

from pack.video.reader import probe, read_frames
from tests.support.media.videos import grey, moving, write
from tools.cli import UserError


def mjpeg(path, height, width, frames):
    """Six pictures of 64x96 pixels in MJPEG, of which these state another size."""
    write(path, [frame.reformat(format="yuvj420p") for frame in moving(6)], "mjpeg")
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for number in frames:
        size = data.index(b"\xff\xc0", places[number]) + 5
        data[size : size + 4] = height.to_bytes(2) + width.to_bytes(2)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("height, width", [(65500, 96), (96, 16400), (40000, 40000)])
def test_a_damaged_frame_of_an_absurd_size_is_left_out_and_named(tmp_path, caplog, height, width):
    path = mjpeg(tmp_path / "a.avi", height, width, [3])
    frames = list(read_frames(path, 30))
    assert [frame.shape for frame in frames] == [(64, 96, 3)] * 5
    assert "is damaged from 0.12 s to 0.16 s: 1 frame is left out" in caplog.text


def test_a_whole_frame_of_an_absurd_size_among_others_is_left_out_and_named(tmp_path, caplog):
    pictures = {side: grey(100, (side, 16)).reformat(format="yuvj420p") for side in (96, 16400)}
    small, large = (write(tmp_path / f"{side}.avi", [picture], "mjpeg") for side, picture in pictures.items())
    with av.open(str(small)) as film, av.open(str(large)) as other, av.open(str(tmp_path / "a.avi"), "w") as out:
        stream = out.add_stream_from_template(film.streams.video[0])
        first, second = (next(container.demux(video=0)) for container in (film, other))
        for number, data in enumerate((first, second, first)):
            packet = av.Packet(bytes(data))
            packet.pts = packet.dts = number
            packet.stream = stream
            out.mux(packet)
    frames = list(read_frames(tmp_path / "a.avi", 30))
    assert [frame.shape for frame in frames] == [(16, 96, 3)] * 2
    assert "is damaged from 0.04 s to 0.08 s: 1 frame is left out" in caplog.text


def test_a_video_of_an_absurd_size_is_refused_in_one_line(tmp_path):
    path = write(tmp_path / "a.mkv", [grey(100, (16400, 16))], "ffv1")
    for read in (probe, lambda path: list(read_frames(path, 30))):
        with pytest.raises(UserError, match=r"has pictures of 16400x16 pixels: expected sides up to 16384") as found:
            read(path)
        assert "\n" not in str(found.value)


@pytest.mark.parametrize("aspect", [Fraction(1, 60), Fraction(60), Fraction(11), Fraction(1, 11)])
def test_pixels_of_an_absurd_shape_are_taken_for_square_ones(tmp_path, caplog, aspect):
    path = write(tmp_path / "a.mp4", moving(3), aspect=aspect)
    assert [frame.shape for frame in read_frames(path, 30)] == [(64, 96, 3)] * 3
    assert caplog.text.count(f"states pixels of the shape {aspect}: taken for square ones") == 1


@pytest.mark.parametrize("aspect, size", [(Fraction(2), (64, 192)), (Fraction(1, 10), (640, 96))])
def test_pixels_of_a_rare_shape_are_shown_as_stated(tmp_path, caplog, aspect, size):
    path = write(tmp_path / "a.mkv", moving(1), aspect=aspect)
    assert [frame.shape[:2] for frame in read_frames(path, 30)] == [size] and not caplog.records


def test_a_shape_of_pixels_does_not_make_a_picture_larger_than_any(tmp_path, caplog):
    wide = [grey(100, (4096, 16))]
    path = write(tmp_path / "a.mkv", wide, aspect=Fraction(5))
    assert [frame.shape[:2] for frame in read_frames(path, 30)] == [(16, 4096)]
    assert "taken for square ones" in caplog.text
