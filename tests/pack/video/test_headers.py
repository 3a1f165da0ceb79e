"""Cropping and Dolby Vision as containers state them; the boxes and elements are written here by hand."""

import struct

import av
import numpy as np
import pytest

from pack.video.bars import Bars
from pack.video.container import open_video
from pack.video.headers import Header, clean_aperture, read_header
from pack.video.reader import probe, read_frames
from tests.support.media.videos import COLORS, grey, planes, quarters, twin_of, write

PARENTS = {b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"stsd": 8, b"avc1": 78, b"hev1": 78}


def with_box(path, kind, content):
    """The MP4, which must end with its moov, with a box at the end of its sample entry."""
    box = struct.pack(">I4s", 8 + len(content), kind) + content

    def grown(data):
        out, at = b"", 0
        while at < len(data):
            size, name = struct.unpack_from(">I4s", data, at)
            body = data[at + 8 : at + size]
            if name in PARENTS:
                head = PARENTS[name]
                body = body[:head] + grown(body[head:]) + (box if head == 78 else b"")
            out += struct.pack(">I4s", 8 + len(body), name) + body
            at += size
        return out

    data = path.read_bytes()
    at = data.rindex(b"moov") - 4
    path.write_bytes(data[:at] + grown(data[at:]))
    return path


def header(path):
    with open_video(path) as (container, stream):
        return read_header(path, container, stream)


def clap(width, height, right=0, down=0):
    return struct.pack(">8i", width, 1, height, 1, right, 1, down, 1)


def framed():
    """The quarters (64 x 96) in a frame of 6 dark lines above, 10 below, 8 left and 12 right."""
    return np.pad(quarters(), ((6, 10), (8, 12), (0, 0)), constant_values=40)


@pytest.mark.parametrize("rotation", [None, 90])
def test_the_clean_aperture_of_an_mp4_is_shown(tmp_path, rotation):
    path = write(
        tmp_path / "a.mp4", [planes(framed(), "bt601", False, "yuv420p")] * 2, options={"qp": "2"}, rotation=rotation
    )
    with_box(path, b"clap", clap(96, 64, -2, -2))
    assert header(path).crop == Bars(6, 10, 8, 12)
    picture = next(read_frames(path, 30))
    expected = np.rot90(COLORS, (rotation or 0) // 90)
    assert picture.shape == np.rot90(quarters(), (rotation or 0) // 90).shape
    assert np.abs(picture[[2, -3]][:, [2, -3]].astype(int) - expected).max() <= 40
    assert (probe(path).height, probe(path).width) == picture.shape[:2]


@pytest.mark.parametrize("side, name", [("top", "54bb"), ("bottom", "54aa"), ("left", "54cc"), ("right", "54dd")])
def test_the_crop_of_a_matroska_track_is_shown(tmp_path, side, name):
    picture = np.pad(quarters(), ((6, 6), (6, 6), (0, 0)), constant_values=40)
    path = write(tmp_path / "a.mkv", [planes(picture, "bt601", False, "yuv420p")] * 2, options={"qp": "2"})
    data = path.read_bytes()
    unit = bytes.fromhex("54b28104")  # of the size of the display, which does not matter
    assert data.count(unit) == 1
    path.write_bytes(data.replace(unit, bytes.fromhex(f"{name}8106")))
    assert header(path).crop == Bars(**{side: 6})
    assert np.array_equal(next(read_frames(path, 30)), Bars(**{side: 6}).crop(whole_of(path, data)))


def whole_of(path, data):
    path.with_name("whole.mkv").write_bytes(data)
    return next(read_frames(path.with_name("whole.mkv"), 30))


@pytest.mark.parametrize(
    "values, bars",
    [
        ((96, 1, 64, 1, 0, 1, 0, 1), Bars(8, 8, 10, 10)),
        ((115, 1, 79, 1, 0, 1, 0, 1), Bars(0, 0, 0, 0)),  # half a pixel at each side
        ((960, 10, 64, 1, -10, 1, 8, 1), Bars(16, 0, 0, 20)),
        ((200, 1, 64, 1, 0, 1, 0, 1), Bars()),  # larger than the frame
        ((96, 1, 64, 1, 90, 1, 0, 1), Bars()),  # outside
    ],
)
def test_a_clean_aperture_is_whole_pixels_inside_the_frame(values, bars):
    assert clean_aperture(values, 116, 80) == bars


def record(profile, compatibility):
    """A Dolby Vision configuration record: version, profile and level, layers, compatibility."""
    return bytes([1, 0, profile << 1, 0b00110101, compatibility << 4]) + bytes(19)


@pytest.mark.parametrize("profile, compatibility, box", [(5, 0, b"dvcC"), (10, 0, b"dvvC")])
def test_dolby_vision_that_only_its_own_decoders_show_is_refused_in_one_line(tmp_path, profile, compatibility, box):
    path = with_box(write(tmp_path / "a.mp4", [grey(100)] * 2), box, record(profile, compatibility))
    for reading in (probe, lambda path: next(read_frames(path, 30))):
        with pytest.raises(ValueError, match=rf"a\.mp4 is Dolby Vision of profile {profile}, .*use a version in HDR10"):
            reading(path)


@pytest.mark.parametrize("profile, compatibility", [(8, 1), (8, 4), (7, 6)])
def test_dolby_vision_above_a_usual_picture_is_read(tmp_path, profile, compatibility):
    path = with_box(write(tmp_path / "a.mp4", [grey(100)] * 2), b"dvcC", record(profile, compatibility))
    assert header(path) == Header(profile=profile, compatibility=compatibility)
    assert len(list(read_frames(path, 30))) == 2


def test_dolby_vision_in_matroska_is_refused_too(tmp_path):
    path = write(tmp_path / "a.mkv", [grey(100)] * 2)
    data = path.read_bytes()
    end = data.index(b"\x1f\x43\xb6\x75")
    addition = element(b"\x41\xe4", element(b"\x41\xe7", b"dvcC") + element(b"\x41\xed", record(5, 0)))
    video = element(b"\xe0", element(b"\xb0", bytes([96])) + element(b"\xba", bytes([64])))
    track = element(b"\xae", element(b"\xd7", b"\x01") + element(b"\x83", b"\x01") + video + addition)
    tracks = element(b"\x16\x54\xae\x6b", track)
    head = data[: data.index(b"\x18\x53\x80\x67")]
    (tmp_path / "b.mkv").write_bytes(head + b"\x18\x53\x80\x67" + b"\x01" + b"\xff" * 7 + tracks + data[end:])
    with open_video(path) as (container, stream), pytest.raises(ValueError, match="Dolby Vision of profile 5"):
        read_header(tmp_path / "b.mkv", container, stream)


def with_rpu(path, profile, full):
    """Two HEVC frames, each followed by the start of a Dolby Vision RPU of this profile, its picture in full range."""
    bits = (
        "00011001" + f"{2:06b}{18:011b}{profile:04b}" + "0000" + "1" + "0" + "00" + "000011000" + "01" + str(int(full))
    )
    rpu = b"\x7c\1" + int(bits.ljust(80, "1"), 2).to_bytes(10)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx265", rate=25, options={"x265-params": "log-level=none:bframes=0"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for packet in (packet for frame in (grey(100), grey(120), None) for packet in stream.encode(frame)):
            out.mux(twin_of(packet, stream, bytes(packet) + b"\0\0\0\1" + rpu))
    return path


@pytest.mark.parametrize("name", ["a.ts", "a.hevc", "a.mkv"])
def test_dolby_vision_of_profile_5_is_refused_where_only_its_frames_say_so(tmp_path, name):
    path = with_rpu(tmp_path / name, profile=0, full=True)
    for reading in (probe, lambda path: next(read_frames(path, 30))):
        with pytest.raises(ValueError, match=r"is Dolby Vision of profile 5, .*use a version in HDR10"):
            reading(path)


@pytest.mark.parametrize("profile, full", [(0, False), (1, False), (1, True)])  # profiles 9, 8.1 and 8.2
def test_frames_with_other_dolby_vision_are_read(tmp_path, profile, full):
    assert len(list(read_frames(with_rpu(tmp_path / "a.ts", profile, full), 30))) == 2


def element(kind, content):
    return kind + bytes([0x40 | len(content) >> 8, len(content) & 255]) + content


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_damaged_headers_say_nothing(tmp_path, name):
    path = write(tmp_path / name, [grey(100)] * 2)
    with open_video(path) as (container, stream):
        data, gen = path.read_bytes(), np.random.default_rng(0)
        for _ in range(60):
            broken = bytearray(data)
            for at in gen.integers(0, len(data), 20):
                broken[at] = gen.integers(256)
            (tmp_path / "broken").write_bytes(broken[: gen.integers(len(data))])
            assert isinstance(read_header(tmp_path / "broken", container, stream), Header)
