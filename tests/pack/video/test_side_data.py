"""Frames with side data of any kind are read; the Exif segments are written here by hand."""

import struct

import av
import numpy as np
import pytest

from pack.video.reader import probe, read_frames
from tests.support.media.videos import COLORS, corners, quarters


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
