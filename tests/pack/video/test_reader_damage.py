"""What is no video, or not a whole one, ends in one line that says so."""

import av
import numpy as np
import pytest

from pack.video.reader import probe, read_frames
from tests.support.videos import grey, moving, write


def one_line(path, kind=ValueError):
    """The message that reading the path raises, by `probe` and by `read_frames` alike."""
    with pytest.raises(kind) as found:
        probe(path)
    with pytest.raises(kind) as again:
        list(read_frames(path, 30))
    message = str(found.value)
    assert message == str(again.value)
    assert str(path) in message and "\n" not in message
    return message


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("a.mp4", b"", "is empty"),
        ("a.mp4", b"No video.\n" * 300, "cannot be opened as a video"),
        ("a.txt", b"No video.\n" * 300, "is an image or a text"),
        ("a.mkv", np.random.default_rng(0).bytes(20000), "cannot be opened as a video"),
        ("a.srt", b"1\n00:00:00,000 --> 00:00:02,000\nHello\n\n", "no video stream, but subtitle"),
    ],
)
def test_what_is_no_video_is_refused_in_one_line(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    assert words in one_line(tmp_path / name)


def test_a_missing_file_and_a_folder_are_refused_in_one_line(tmp_path):
    assert "there is no file" in one_line(tmp_path / "a.mp4", FileNotFoundError)
    assert "is a folder" in one_line(tmp_path)


@pytest.mark.parametrize("name, codec, pix_fmt", [("a.png", "png", "rgb24"), ("a.jpg", "mjpeg", "yuvj420p")])
def test_an_image_is_refused_whatever_its_name(tmp_path, name, codec, pix_fmt):
    write(tmp_path / name, [grey(100).reformat(format=pix_fmt)], codec)
    assert "is an image" in one_line(tmp_path / name)
    (tmp_path / name).rename(tmp_path / "b.mp4")
    assert "is an image" in one_line(tmp_path / "b.mp4")


@pytest.mark.parametrize("cover", [False, True])
def test_a_song_is_refused_with_and_without_a_picture_on_its_cover(tmp_path, cover):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=44100)
        if cover:
            image = container.add_stream("mjpeg", rate=25)
            image.width, image.height, image.pix_fmt = 96, 64, "yuvj420p"
            image.disposition = av.stream.Disposition.attached_pic
            container.mux([*image.encode(grey(100).reformat(format="yuvj420p")), *image.encode()])
        samples = av.AudioFrame.from_ndarray(np.zeros((2, 4096), np.float32), format="fltp", layout="stereo")
        samples.sample_rate = 44100
        container.mux([*sound.encode(samples), *sound.encode()])
    message = one_line(tmp_path / "a.mp4")
    assert "has no video stream, but audio" in message


def test_colours_that_cannot_be_converted_are_refused_in_one_line(tmp_path):
    path = write(tmp_path / "a.mkv", moving(2), "ffv1", color={"colorspace": 8})  # YCgCo
    assert "colours of matrix 8" in one_line(path)


def test_an_mp4_cut_before_its_index_is_refused_in_one_line(tmp_path):
    data = write(tmp_path / "a.mp4", moving(20)).read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: len(data) // 2])
    assert "it is cut short or no video" in one_line(tmp_path / "a.mp4")


def test_a_video_without_a_frame_is_refused_in_one_line(tmp_path):
    data = write(tmp_path / "a.mkv", moving(20), "ffv1").read_bytes()
    (tmp_path / "a.mkv").write_bytes(data[: data.index(b"\x1f\x43\xb6\x75") + 60])  # in the first cluster
    assert "without a frame that can be decoded" in one_line(tmp_path / "a.mkv")


def test_an_mp4_cut_behind_its_index_says_where_decoding_failed(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for frame in moving(60):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes()[:-1000])
    read = []
    with pytest.raises(ValueError, match=r"cannot be decoded after frame \d+ \(") as found:
        read.extend(read_frames(path, 30))
    assert f"after frame {len(read)} " in str(found.value)
    assert 0 < len(read) < 60


@pytest.mark.parametrize(
    "name, codec", [("a.ts", "libx264"), ("b.ts", "libx265"), ("a.mpg", "mpeg2video"), ("a.avi", "mpeg4")]
)
def test_damage_in_the_midst_of_a_video_is_an_error(tmp_path, name, codec):
    path = write(tmp_path / name, moving(60), codec, options={"g": "12", "x265-params": "log-level=none"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 600] = np.random.default_rng(0).bytes(600)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"is damaged at frame|cannot be decoded after frame"):
        list(read_frames(path, 30))


@pytest.mark.parametrize("name, codec", [("a.ts", "libx264"), ("a.mpg", "mpeg2video"), ("a.avi", "mpeg4")])
def test_a_recording_that_was_cut_by_the_byte_keeps_the_frames_before(tmp_path, name, codec):
    path = write(tmp_path / name, moving(30), codec, options={"bf": "0"})
    whole = list(read_frames(path, 30))
    path.write_bytes(path.read_bytes()[:-1000])
    rest = list(read_frames(path, 30))
    assert 20 <= len(rest) < 30
    assert np.array_equal(rest, whole[: len(rest)])


def test_a_recording_that_begins_amid_a_group_begins_at_its_next_whole_frame(tmp_path):
    path = write(tmp_path / "a.ts", moving(48), "libx264", options={"g": "12", "sc_threshold": "0", "bf": "0"})
    whole = list(read_frames(path, 30))
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 3 // 188 * 188 :])
    rest = list(read_frames(path, 30))
    assert len(rest) in (12, 24, 36)
    assert np.array_equal(rest, whole[-len(rest) :])


def test_a_change_of_size_is_an_error_that_says_when(tmp_path):
    first = write(tmp_path / "a.h264", moving(10)).read_bytes()
    second = write(tmp_path / "b.h264", moving(10, size=(128, 96))).read_bytes()
    (tmp_path / "c.h264").write_bytes(first + second)
    with pytest.raises(ValueError, match=r"changes its size from 96x64 to 128x96 after 0\.40 s"):
        list(read_frames(tmp_path / "c.h264", 30))
