"""Frames with side data of any kind are read; the Exif segments are written here by hand."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from pack.video.output.encoder import Encoding
from pack.video.reader import probe, read_frames
from tests.support.media.stereo_films import pictures, write_film
from tests.support.media.videos import COLORS, corners, moving, quarters, write


def exif(orientation):
    """A segment of a JPEG (Exif 2.3, 4.5) with one entry: how the camera was held."""
    entry = struct.pack("<HHHIHHI", 1, 0x112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0II*\0" + struct.pack("<I", 8) + entry
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


@pytest.mark.parametrize("name, orientation, turns", [("a.avi", 1, 0), ("a.mov", 6, -1), ("a.avi", 3, 2)])
def test_a_cameras_mjpeg_with_exif_data_is_read_and_turned_as_these_say(tmp_path, name, orientation, turns):
    with av.open(str(tmp_path / name), "w") as out:
        stream = out.add_stream("mjpeg", rate=25, options={"qmax": "2"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj444p"
        frame = av.VideoFrame.from_ndarray(quarters(), "rgb24").reformat(format="yuvj444p")
        for packet in stream.encode(frame) + stream.encode():
            data = bytes(packet)
            twin = av.Packet(data[:2] + exif(orientation) + data[2:])
            twin.pts, twin.dts, twin.time_base, twin.stream = 0, 0, packet.time_base, stream
            twin.is_keyframe = True
            out.mux(twin)
    info, picture = probe(tmp_path / name), next(read_frames(tmp_path / name, 30))
    assert picture.shape[:2] == (info.height, info.width) == np.rot90(quarters(), turns).shape[:2]
    assert np.abs(corners(picture) - np.rot90(COLORS, turns)).max() <= 12


@pytest.mark.parametrize("name", ["b.mkv", "b.mp4"])
@pytest.mark.parametrize(
    "mode, words", [("left_right", "(side by side)"), ("top_bottom", "(top and bottom)"), ("", "")]
)
def test_a_film_that_is_stereo_already_is_named_in_one_line(tmp_path, caplog, name, mode, words):
    source = write(tmp_path / "a.mp4", moving(2))
    shown = [(Fraction(n, 25), picture) for n, picture in enumerate(pictures(2))]
    write_film(tmp_path / name, source, shown, encoding=Encoding(stereo_mode=mode))
    assert not caplog.messages
    probe(tmp_path / name)
    assert len(caplog.messages) == bool(mode) and words in caplog.text


def test_a_film_of_two_views_is_named(tmp_path, caplog):
    """Spatial video has the box vexu without a packing."""
    source, path = write(tmp_path / "a.mp4", moving(2)), tmp_path / "b.mov"
    write_film(path, source, [(Fraction(0), pictures(1)[0])], encoding=Encoding(stereo_mode="left_right"))
    data = path.read_bytes()
    assert data.count(b"pack") == 1
    path.write_bytes(data.replace(b"pack", b"free"))
    probe(path)
    assert "has two views: the base view" in caplog.text
