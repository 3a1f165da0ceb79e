"""What is no video is refused in one line; of one that is damaged the whole frames are used, and the rest is named."""

import errno
import re
from dataclasses import replace

import av
import numpy as np
import pytest

from pack.video import decode
from pack.video.reader import Report, probe, read_clips, read_frames, read_timed
from tests.support.media.videos import grey, joined, moving, write


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


@pytest.mark.parametrize("name, tags", [("a.mp4", [b"avc1", b"avcC"]), ("a.mkv", [b"V_MPEG4/ISO/AVC"])])
def test_a_codec_that_nobody_knows_is_refused_in_one_line(tmp_path, name, tags):
    path = write(tmp_path / name, [grey(100)] * 2)
    data = path.read_bytes()
    for tag in tags:
        at = data.rindex(tag)
        data = data[:at] + tag[:-4] + b"zzzz" + data[at + len(tag) :]
    path.write_bytes(data)
    assert "has video of a codec that FFmpeg cannot decode" in one_line(path)


def test_an_mp4_cut_before_its_index_is_refused_in_one_line(tmp_path):
    data = write(tmp_path / "a.mp4", moving(20)).read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: len(data) // 2])
    assert "it is cut short or no video" in one_line(tmp_path / "a.mp4")


def test_a_video_without_a_frame_is_refused_in_one_line(tmp_path):
    data = write(tmp_path / "a.mkv", moving(20), "ffv1").read_bytes()
    (tmp_path / "a.mkv").write_bytes(data[: data.index(b"\x1f\x43\xb6\x75") + 60])  # in the first cluster
    assert "without a frame that can be decoded" in one_line(tmp_path / "a.mkv")


def test_an_avi_with_frames_of_no_bytes_is_not_cut_short(tmp_path, caplog):
    frames = moving(10)
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number, frame in enumerate(frames):
            frame.pts = number + 5 * (number >= 5)  # the muxer writes frames of no bytes into the gap
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(tmp_path / "a.avi")) as container:
        assert container.streams.video[0].frames == 15
    assert len(list(read_frames(tmp_path / "a.avi", 10**6))) == 10
    assert not caplog.records


def test_an_mp4_cut_behind_its_index_gives_the_frames_before_and_says_so(tmp_path, caplog):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for frame in moving(60):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    whole = list(read_frames(path, 30))
    path.write_bytes(path.read_bytes()[:-1000])
    read = list(read_frames(path, 30))
    assert 40 < len(read) < 60 and np.array_equal(read, whole[: len(read)])
    assert "is cut short: its index lists 60 frames" in caplog.text


def sudden(count):
    """Frames of which each shows another part of a coarse pattern, so that a wrong one is told apart."""
    pattern = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    return [
        av.VideoFrame.from_ndarray(pattern[n : n + 64, 2 * n : 2 * n + 96].copy(), "rgb24").reformat(format="yuv420p")
        for n in range(count)
    ]


def as_in(picture, pictures):
    """The number of the picture that this one equals."""
    return next((n for n, other in enumerate(pictures) if np.array_equal(picture, other)), None)


@pytest.mark.parametrize("seed", [0, 2])
@pytest.mark.parametrize(
    "name, codec", [("a.ts", "libx264"), ("b.ts", "libx265"), ("a.mpg", "mpeg2video"), ("a.mp4", "libx264")]
)
def test_only_whole_frames_are_read_of_a_damaged_video_and_reading_goes_on_behind(tmp_path, caplog, name, codec, seed):
    options = {"g": "12", "bf": "2", "x265-params": "log-level=none:keyint=12"}
    path = write(tmp_path / name, sudden(96), codec, options=options)
    whole = [picture.pixels for picture in read_timed(path, 30)]
    data, gen = bytearray(path.read_bytes()), np.random.default_rng(seed)
    middle = int(gen.integers(len(data) // 3, len(data) // 2))
    data[middle : middle + 600] = gen.bytes(600)
    path.write_bytes(data)
    read = list(read_timed(path, 30))
    numbers = [as_in(picture.pixels, whole) for picture in read]
    assert None not in numbers
    assert numbers == sorted(numbers)
    assert 60 <= len(numbers) < 96 and numbers[0] == 0 and numbers[-1] == 95
    assert [picture.stretch for picture in read] == sorted(picture.stretch for picture in read)
    assert max(picture.stretch for picture in read) >= 1
    assert "is damaged from" in caplog.text


@pytest.mark.parametrize("fill", ["zeros", "noise"])
@pytest.mark.parametrize("seed", [1, 3])
@pytest.mark.parametrize(
    "name, codec",
    [
        ("a.mkv", "libx264"),
        ("b.mkv", "libx265"),
        ("b.mp4", "libx265"),
        ("a.webm", "libvpx-vp9"),
        ("a.avi", "mpeg4"),
    ],
)
def test_no_broken_frame_is_read_of_a_file_of_which_a_block_was_overwritten(tmp_path, caplog, name, codec, seed, fill):
    options = {"g": "12", "x265-params": "log-level=none:keyint=12", "cpu-used": "8", "deadline": "realtime"}
    path = write(tmp_path / name, sudden(96), codec, options=options)
    whole = [picture.pixels for picture in read_timed(path, 30)]
    assert not caplog.records
    data, gen = bytearray(path.read_bytes()), np.random.default_rng(seed)
    middle = int(gen.integers(len(data) // 3, len(data) // 2))
    data[middle : middle + 4096] = bytes(4096) if fill == "zeros" else gen.bytes(4096)
    path.write_bytes(data)
    numbers = [as_in(picture.pixels, whole) for picture in read_timed(path, 30)]
    assert None not in numbers and numbers == sorted(numbers) and len(numbers) >= 12


@pytest.mark.parametrize("name, codec", [("a.mp4", "libx264"), ("a.mp4", "libx265"), ("a.ts", "libx265")])
def test_a_frame_of_which_some_bytes_became_zeros_is_damaged_although_it_decodes(tmp_path, caplog, name, codec):
    options = {"g": "12", "bf": "0", "x265-params": "log-level=none:keyint=12:bframes=0"}
    path = write(tmp_path / name, sudden(48), codec, options=options)
    with av.open(str(path)) as container:
        place = [packet.pos for packet in container.demux(video=0) if packet.size][20]
    data = bytearray(path.read_bytes())
    data[place + 60 : place + 70] = bytes(10)
    path.write_bytes(data)
    times = [round(25 * (picture.seconds)) for picture in read_timed(path, 30)]
    assert [time - times[0] for time in times] == [*range(20), *range(24, 48)]
    assert "4 frames are left out" in caplog.text


@pytest.mark.parametrize("options", [{"bf": "2"}, {"bf": "0"}])
@pytest.mark.parametrize("lost", [1, 3])
def test_no_broken_frame_is_read_of_a_recording_that_lost_transport_packets(tmp_path, options, lost):
    """FFmpeg conceals what is missing, and marks few of these pictures."""
    path = write(tmp_path / "a.ts", sudden(60), "libx264", options={"g": "12"} | options)
    whole = [picture.pixels for picture in read_timed(path, 30)]
    data = path.read_bytes()
    for start in range(len(data) // 188 // 5, len(data) // 188 * 4 // 5, 23):
        path.write_bytes(data[: start * 188] + data[(start + lost) * 188 :])
        numbers = [as_in(picture.pixels, whole) for picture in read_timed(path, 30)]
        assert None not in numbers and len(numbers) >= 30, start


def test_a_frame_that_a_library_of_the_decoder_refuses_is_left_out(tmp_path, caplog):
    path = write(tmp_path / "a.mov", [frame.reformat(format="rgb24") for frame in moving(5)], "png")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        third = [packet for packet in container.demux(video=0) if packet.size][2]
        place = third.pos + third.size // 2
    data[place : place + 64] = bytes(64)
    path.write_bytes(data)
    with av.open(str(path)) as container, pytest.raises(av.ExternalError):
        list(container.decode(video=0))
    assert len(list(read_frames(path, 30))) == 4
    assert "is damaged from 0.08 s to 0.12 s: 1 frame is left out" in caplog.text


def test_where_no_frame_can_be_decoded_the_line_says_why(tmp_path):
    path = write(tmp_path / "a.mov", [frame.reformat(format="rgb24") for frame in moving(2)], "png")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"IDAT", b"IDAX"))
    assert re.search(r"without a frame that can be decoded \(\w.*\): ", one_line(path))


class FailingAtTheEnd:
    """A packet whose decoder fails when it is flushed."""

    def __init__(self, packet):
        vars(self)["packet"] = packet

    def __getattr__(self, name):
        return getattr(self.packet, name)

    def __setattr__(self, name, value):
        setattr(self.packet, name, value)

    def decode(self):
        return self.packet.decode() if self.packet.size else av.error.err_check(-errno.EINVAL)


def test_a_decoder_that_fails_when_it_is_flushed_has_lost_no_frame(tmp_path, caplog, monkeypatch):
    path = write(tmp_path / "a.mov", [frame.reformat(format="rgb24") for frame in moving(3)], "png")
    real = decode.inspected
    failing = lambda *of: (replace(found, packet=FailingAtTheEnd(found.packet)) for found in real(*of))  # noqa: E731
    monkeypatch.setattr(decode, "inspected", failing)
    assert len(list(read_frames(path, 30))) == 3 and not caplog.records


def test_two_readers_of_a_damaged_film_at_the_same_time_read_the_same(tmp_path):
    """Packets are told apart by objects that PyAV keeps by identity for all decoders."""
    path = write(tmp_path / "a.ts", sudden(60), "libx264", options={"g": "12", "bf": "2"})
    data = path.read_bytes()
    # of the picture (0x100): the loss of a table, which is repeated, damages nothing
    pictures = [at for at in range(0, len(data), 188) if data[at + 1 : at + 3] == b"\x01\x00"]
    lost = pictures[len(pictures) // 2]
    path.write_bytes(data[:lost] + data[lost + 188 :])
    alone = [picture.seconds for picture in read_timed(path, 30)]
    assert len(alone) < 60
    for ahead in range(10, 18):
        one, other = read_timed(path, 30), read_timed(path, 30)
        first = [next(one).seconds for _ in range(ahead)]
        read = [(next(other).seconds, next(one, None)) for _ in alone]
        assert [seconds for seconds, _ in read] == alone, ahead
        assert first + [picture.seconds for _, picture in read if picture] == alone


def test_a_damaged_stretch_ends_a_clip(tmp_path):
    path = write(tmp_path / "a.mp4", sudden(96), options={"g": "12"})
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 600] = bytes(600)
    path.write_bytes(data)
    whole_until = [picture.stretch for picture in read_timed(path, 30)].index(1)
    starts = [clip.start for clip in read_clips(path, 12, 30, 0, 0, Report())]
    assert whole_until in starts and not any(start < whole_until < start + 12 for start in starts)


def test_frames_predicted_from_another_recording_at_a_joint_are_left_out(tmp_path):
    options = {"g": "12", "bf": "2", "qscale": "2", "sc_threshold": "1000000000"}
    first, second = (
        write(tmp_path / f"{n}.ts", frames, "mpeg2video", options=options)
        for n, frames in enumerate((moving(30), moving(60)[::-1]))
    )
    with av.open(str(second)) as container:
        keys = [packet.pos for packet in container.demux(video=0) if packet.is_keyframe]
    head, rest = second.read_bytes()[: 3 * 188], second.read_bytes()[keys[2] :]  # from an open group on
    (tmp_path / "joined.ts").write_bytes(first.read_bytes() + head + rest)
    whole = [*read_frames(first, 10**6), *read_frames(second, 10**6)]
    frames = list(read_frames(tmp_path / "joined.ts", 10**6))
    assert 30 + 60 - 2 * 12 - 2 <= len(frames) < len(whole) - 2 * 12 + 2
    assert all(any(np.array_equal(frame, other) for other in whole) for frame in frames)


def test_whole_segments_that_are_joined_are_whole(tmp_path, caplog):
    """Their packets are marked as corrupt, because counters jump."""
    frames, parts = sudden(75), []
    for number in range(3):
        part, first = tmp_path / f"{number}.ts", 25 * number
        write(part, frames[first : first + 25], times=[1 + n / 25 for n in range(first, first + 25)])
        parts.append(part)
    path = joined(tmp_path / "all.ts", *parts)
    with av.open(str(path)) as container:
        assert any(packet.is_corrupt for packet in container.demux(video=0))
    apart = [frame for part in parts for frame in read_frames(part, 30)]
    assert np.array_equal(list(read_frames(path, 30)), apart) and not caplog.records


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


def test_a_change_of_size_ends_a_clip(tmp_path):
    first = write(tmp_path / "a.h264", moving(20)).read_bytes()
    second = write(tmp_path / "b.h264", moving(20, size=(128, 96))).read_bytes()
    (tmp_path / "c.h264").write_bytes(first + second)
    clips = list(read_clips(tmp_path / "c.h264", 12, 30, 0, 0, Report()))
    assert [(clip.start, clip.frames.shape) for clip in clips] == [(0, (12, 64, 96, 3)), (20, (12, 96, 128, 3))]
