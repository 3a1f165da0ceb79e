import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from pack.video.reader import Report, probe, read_clips, read_frames
from tests.support import ROOT
from tests.support.media.videos import COLORS, FULL, LIMITED, MATRICES, corners, grey, moving, planes, quarters, write


def ramp(path, times, rate=25, **keywords):
    """A video whose n-th frame is grey 4 n."""
    return write(path, [grey(4 * n) for n in range(len(times))], rate=rate, times=times, **keywords)


def kept(path, max_fps):
    """Numbers of the frames of a ramp that were not dropped."""
    return [round(frame.mean() / 4) for frame in read_frames(path, max_fps)]


@pytest.mark.parametrize(
    "codec, pix_fmt",
    [
        ("libx264", "yuv420p"),
        ("libx264", "yuv420p10le"),
        ("libx264", "yuv444p"),
        ("libx265", "yuv420p10le"),
        ("ffv1", "yuv420p10le"),
    ],
)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_known_colours_come_back_from_every_matrix_range_and_depth(tmp_path, codec, pix_fmt, full, matrix):
    color = {"colorspace": MATRICES[matrix][0], "color_range": FULL if full else LIMITED}
    quality = {"ffv1": {}, "libx264": {"qp": "2"}, "libx265": {"x265-params": "log-level=none:qp=2"}}[codec]
    path = write(
        tmp_path / "a.mkv", [planes(quarters(), matrix, full, pix_fmt)] * 2, codec, options=quality, color=color
    )
    picture = next(read_frames(path, 30))
    assert np.abs(corners(picture) - COLORS).max() <= (1 if codec == "ffv1" else 3)  # FFV1 loses nothing


def test_full_range_stated_only_by_the_pixel_format_is_used(tmp_path):
    frame = planes(quarters(), "bt601", True, "yuvj420p")
    picture = next(read_frames(write(tmp_path / "a.avi", [frame], "mjpeg", options={"q": "2"}), 30))
    assert np.abs(corners(picture) - COLORS).max() <= 3


@pytest.mark.parametrize("size, matrix", [((1280, 720), "bt709"), ((720, 576), "bt601"), ((640, 360), "bt601")])
def test_without_a_matrix_small_video_is_bt601_and_hd_is_bt709(tmp_path, size, matrix):
    frame = planes(quarters(size[1], size[0]), matrix, False, "yuv420p")
    picture = next(read_frames(write(tmp_path / "a.mp4", [frame], options={"qp": "2"}), 30))
    assert np.abs(corners(picture) - COLORS).max() <= 3


@pytest.mark.parametrize(
    "name, codec, options",
    [
        ("a.webm", "libvpx-vp9", {"crf": "10", "b": "0"}),
        ("a.mkv", "libsvtav1", {"crf": "10", "svtav1-params": "lp=1"}),
        ("a.mp4", "libx265", {"x265-params": "log-level=none"}),
        ("a.mpg", "mpeg2video", {"q": "2"}),
        ("a.avi", "mpeg4", {"q": "2"}),
        ("a.mov", "prores_ks", {}),
    ],
)
def test_every_usual_codec_gives_all_frames_in_order(tmp_path, name, codec, options):
    frames = [grey(40 + 16 * n) for n in range(10)]
    if codec == "prores_ks":
        frames = [frame.reformat(format="yuv422p10le") for frame in frames]
    out = list(read_frames(write(tmp_path / name, frames, codec, options=options), 30))
    assert [round((frame.mean() - 40) / 16) for frame in out] == list(range(10))
    assert os.sched_getscheduler(0) == os.SCHED_OTHER  # which SVT-AV1 changes


@pytest.mark.parametrize("size", [(97, 65), (96, 65), (97, 64), (2, 2), (1, 1)])
def test_rgb_of_any_size_comes_back_bit_for_bit(tmp_path, size):
    pictures = np.random.default_rng(1).integers(0, 256, (3, size[1], size[0], 3), np.uint8)
    frames = [av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="bgr0") for picture in pictures]
    assert np.array_equal(list(read_frames(write(tmp_path / "a.mkv", frames, "ffv1"), 30)), pictures)


def test_odd_sizes_of_subsampled_colour_keep_their_size_and_their_edges(tmp_path):
    frame = planes(quarters(65, 97), "bt601", False, "yuv420p")
    path = write(tmp_path / "a.mkv", [frame], "ffv1")
    picture = next(read_frames(path, 30))
    assert picture.shape == (65, 97, 3)
    assert np.abs(picture[[0, -1]][:, [0, -1]].astype(int) - COLORS).max() <= 3


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])  # against the clock
def test_rotated_video_is_decoded_upright(tmp_path, degrees):
    frame = planes(quarters(), "bt601", False, "yuv420p")
    path = write(tmp_path / "a.mp4", [frame], rotation=degrees)
    picture = next(read_frames(path, 30))
    assert picture.flags.c_contiguous
    assert picture.shape == np.rot90(quarters(), degrees // 90).shape
    assert np.abs(corners(picture) - np.rot90(COLORS, degrees // 90)).max() <= 6
    assert (probe(path).height, probe(path).width) == picture.shape[:2]


@pytest.mark.parametrize(
    "matrix, turn",  # a, b, c, d of a track header; a phone held upright writes the first
    [
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
        ((-1, 0, 0, 1), np.fliplr),
        ((0, 1, 1, 0), lambda p: p.transpose(1, 0, 2)),
    ],
)
def test_the_matrix_of_a_track_header_turns_and_mirrors(tmp_path, matrix, turn):
    path = write(tmp_path / "a.mp4", [planes(quarters(), "bt601", False, "yuv420p")])
    words = [matrix[0], matrix[1], 0, matrix[2], matrix[3], 0, 0, 0]
    data = path.read_bytes()
    at = data.index(b"tkhd") + 44  # version 0: flags, times, track, duration, layer, volume come first
    assert data[at : at + 4] == (1 << 16).to_bytes(4)
    packed = b"".join((word * 65536).to_bytes(4, signed=True) for word in words)
    path.write_bytes(data[:at] + packed + data[at + 32 :])
    assert np.abs(corners(next(read_frames(path, 30))) - turn(COLORS)).max() <= 6


@pytest.mark.parametrize(
    "aspect, rotation, size",
    [((4, 3), None, (128, 64)), ((2, 3), None, (96, 96)), ((1, 1), None, (96, 64)), ((4, 3), 90, (64, 128))],
)
def test_pixels_become_square_and_no_side_shrinks(tmp_path, aspect, rotation, size):
    frame = planes(quarters(), "bt601", False, "yuv420p")
    path = write(tmp_path / "a.mp4", [frame], aspect=Fraction(*aspect), rotation=rotation)
    assert next(read_frames(path, 30)).shape == (size[1], size[0], 3)
    assert (probe(path).width, probe(path).height) == size


@pytest.mark.parametrize("rate, step", [(60, 2), (50, 2), (48, 2), (30, 1), (25, 1), (120, 4)])
def test_rates_above_the_limit_are_thinned_in_even_steps(tmp_path, rate, step):
    path = ramp(tmp_path / "a.mkv", [n / rate for n in range(40)], rate=rate)  # in whole milliseconds
    assert kept(path, 30) == list(range(0, 40, step))


def test_a_variable_rate_is_thinned_by_its_time_stamps(tmp_path):
    slow, fast = [0, 0.1, 0.2, 0.3], [0.3 + n / 60 for n in range(1, 21)]
    path = ramp(tmp_path / "a.mkv", [*slow, *fast, 2.0, 2.1], rate=60)
    assert kept(path, 30) == [0, 1, 2, 3, *range(5, 24, 2), 24, 25]


def test_probe_reports_the_properties_of_the_real_videos(clips):
    info = probe(clips / "bikes.mp4")
    assert (info.width, info.height, info.fps, info.duration, info.frames) == (640, 272, 25, 10, 250)
    info = probe(clips / "cityCC0.mpg")
    assert (info.width, info.height, info.fps, info.duration, info.frames) == (720, 405, 25, 7.6, 190)


def test_the_rate_of_raw_dv_is_that_of_its_frames(tmp_path):
    with av.open(str(tmp_path / "a.dv"), "w", format="dv") as out:
        stream = out.add_stream("dvvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 720, 576, "yuv420p"
        for number in range(3):
            frame = grey(100, (720, 576))
            frame.pts = number
            out.mux(stream.encode(frame))
    info = probe(tmp_path / "a.dv")
    assert (info.fps, info.frames) == (25, 3)  # FFmpeg states the rate of its clock, 60000


def test_frames_are_counted_without_the_sound_that_is_longer(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        picture, sound = out.add_stream("ffv1", rate=25), out.add_stream("flac", rate=8000, layout="mono")
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p"
        for number, frame in enumerate(moving(10)):
            frame.pts = number + 5  # the picture begins later
            out.mux(picture.encode(frame))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
        samples.sample_rate, samples.pts, samples.time_base = 8000, 0, Fraction(1, 8000)
        out.mux(sound.encode(samples) + sound.encode())
    info = probe(tmp_path / "a.mkv")
    assert (info.duration, info.frames) == (0.4, 10)


def test_a_name_with_a_colon_is_a_file(tmp_path, monkeypatch):
    write(tmp_path / "http:a.mp4", [grey(100)])
    monkeypatch.chdir(tmp_path)
    assert len(list(read_frames("http:a.mp4", 30))) == 1


@pytest.mark.slow
def test_a_reader_that_is_abandoned_closes_its_file_and_never_hangs(clips):
    """In a process with torchvision, where PyAV's own threads hang; the limit of time only ends a hang."""
    program = f"""
import os, torchvision
from pack.video.reader import Report, read_clips, read_frames
def opened():
    return [n for n in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{{n}}").endswith("bikes.mp4")]
path = {str(clips / "bikes.mp4")!r}
for reader in (read_frames(path, 30), read_clips(path, 16, 30, 0, 16, Report())):
    for count in range(3):
        next(reader)
    assert opened()
    reader.close()
    assert not opened()
left_open = read_frames(path, 30)
next(left_open)
print("left")
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=480,
        cwd=ROOT,
    )
    assert (result.stdout, result.returncode) == ("left\n", 0), result.stderr


@pytest.mark.slow
def test_clips_are_the_frames_of_one_shot_and_the_same_each_time(clips):
    frames = list(read_frames(clips / "bikes.mp4", 30))
    report = Report()
    found = list(read_clips(clips / "bikes.mp4", 16, 30, 0, 16, report))
    assert [clip.start for clip in found] == [
        0,
        30,
        76,
        108,
        137,
        169,
        187,
        219,
    ]  # shots begin at 30, 76, 137, 187, 242
    assert [clip.number for clip in found] == list(range(8))
    for clip in found:
        assert np.array_equal(clip.frames, frames[clip.start : clip.start + 16])
        assert clip.seconds == pytest.approx(clip.start / 25)
    assert report == Report(frames=250, clips=8, cuts=5, broken=1, longest=61)


@pytest.mark.slow
def test_frames_at_the_start_and_between_clips_are_skipped(clips):
    found = list(read_clips(clips / "bigbuckbunny.mp4", 12, 30, 10, 5, Report()))
    assert [clip.start for clip in found] == list(range(10, 121, 17))
    assert {clip.frames.shape for clip in found} == {(12, 720, 1280, 3)}


def test_start_and_seconds_are_those_after_thinning(clips):
    second = list(read_clips(clips / "bigbuckbunny.mp4", 12, 12.5, 0, 4, Report()))[1]
    assert (second.start, second.seconds) == (16, pytest.approx(16 * 0.08))


@pytest.mark.parametrize("skip_first, frames", [(0, 10), (4, 10), (50, 10)])
def test_a_video_too_short_for_a_clip_says_what_was_found(tmp_path, skip_first, frames):
    path = write(tmp_path / "a.mp4", moving(10))
    report = Report()
    with pytest.raises(ValueError, match=f"found {frames} frames .* expected --seq 16 after --skip-first {skip_first}"):
        list(read_clips(path, 16, 30, skip_first, 16, report))
    assert (report.frames, report.clips) == (10, 0)
