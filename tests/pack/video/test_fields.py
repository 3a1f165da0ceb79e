"""Interlaced and telecined film becomes whole frames, each at its own time."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.filter import Graph

from pack.video.fields import find_telecine, same_frames
from pack.video.reader import Report as ClipReport
from pack.video.reader import read_clips, read_timed
from tests.support.media.soft_telecine import write_parts
from tests.support.media.videos import joined, write

NTSC = Fraction(30000, 1001)


def moving_blocks(count, step):
    """Grey pictures (128 192) of coarse blocks that move by `step` pixels."""
    blocks = np.random.default_rng(0).integers(0, 255, (40, 120)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    return [blocks[8:136, int(step * n) : int(step * n) + 192] for n in range(count)]


def woven(upper, lower):
    picture = upper.copy()
    picture[1::2] = lower[1::2]
    return picture


def interlaced(count, upper_first=True):
    fields = moving_blocks(2 * count, 2)
    first, second = fields[::2], fields[1::2]
    return [woven(a, b) if upper_first else woven(b, a) for a, b in zip(first, second, strict=True)]


def telecined(film, upper_first=True):
    """2:3 pulldown: 4 pictures become 5, of which 2 are woven of two."""
    fields = [picture for number, picture in enumerate(film) for _ in range(2 + number % 2)]
    pairs = zip(fields[::2], fields[1::2], strict=False)
    return [woven(a, b) if upper_first else woven(b, a) for a, b in pairs]


def flagged(frames, order, rate):
    """The frames, flagged as interlaced with this order of fields, tff or bff; "prog" makes them progressive."""
    graph = Graph()
    size = {"width": frames[0].width, "height": frames[0].height, "format": frames[0].format}
    source = graph.add_buffer(**size, time_base=1 / Fraction(rate))
    graph.link_nodes(source, graph.add("setfield", order), graph.add("buffersink")).configure()
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number, 1 / Fraction(rate)
        graph.push(frame)
        yield graph.vpull()


def grey_frames(pictures):
    frames = (av.VideoFrame.from_ndarray(np.repeat(p[..., None], 3, 2), "rgb24") for p in pictures)
    return [frame.reformat(format="yuv420p", threads=1) for frame in frames]


def encode(path, pictures, codec="libx264", rate=25, order="prog", rotation=None):
    frames = list(flagged(grey_frames(pictures), order, rate))
    options = {"crf": "12", "preset": "ultrafast", "threads": "1"} if codec == "libx264" else {"b": "8M"}
    if order != "prog":
        options["flags"] = "+ildct+ilme"
    return write(path, frames, codec, rate=rate, options=options, rotation=rotation)


def combs(picture):  # (H W 3) -> how far lines alternate, in squared levels
    grey = picture[..., 1].astype(float)
    return np.maximum(0, -(grey[1:-1] - grey[:-2]) * (grey[2:] - grey[1:-1])).mean()


def read(path, deinterlace="auto"):
    pictures = list(read_timed(path, 1000, deinterlace))
    return [picture.pixels for picture in pictures], [float(picture.seconds) for picture in pictures]


@pytest.mark.parametrize("name, codec", [("a.mkv", "libx264"), ("a.mpg", "mpeg2video"), ("a.ts", "libx264")])
@pytest.mark.parametrize("order", ["tff", "bff"])
def test_interlaced_frames_lose_their_combs_and_keep_their_number_and_times(tmp_path, name, codec, order):
    path = encode(tmp_path / name, interlaced(40, order == "tff"), codec, order=order)
    combed, times = read(path, "off")
    smooth, same = read(path)
    assert len(smooth) == len(combed) == 40 and times == same
    before, after = (np.mean([combs(picture) for picture in pictures]) for pictures in (combed, smooth))
    assert before > 1000 and after < before / 50
    first, fields = ("tff", "bff").index(order), moving_blocks(80, 2)[::2]
    lines = [np.abs(a[first::2, :, 1].astype(int) - b[first::2]).mean() for a, b in zip(smooth, fields, strict=True)]
    assert np.mean(lines) < 6  # a frame shows the moment of its first field


def test_progressive_frames_are_left_alone_unless_asked(tmp_path):
    path = encode(tmp_path / "a.mkv", moving_blocks(20, 3))
    assert np.array_equal(read(path)[0], read(path, "off")[0])
    unflagged = encode(tmp_path / "b.mkv", interlaced(20))
    assert np.array_equal(read(unflagged)[0], read(unflagged, "off")[0])
    smooth, times = read(unflagged, "on")
    assert len(smooth) == 20 and times == read(unflagged)[1]
    assert np.mean([combs(picture) for picture in smooth]) < combs(read(unflagged)[0][5]) / 50


@pytest.mark.parametrize("upper_first", [True, False])
@pytest.mark.parametrize("order", ["prog", "tff", "bff"])
def test_telecined_film_gets_its_own_frames_back_whatever_its_flags_say(tmp_path, order, upper_first):
    film = moving_blocks(80, 3)
    path = encode(tmp_path / "a.mkv", telecined(film, upper_first), rate=NTSC, order=order)
    assert find_telecine(path) == ("tff" if upper_first else "bff")
    pictures, times = read(path)
    assert len(pictures) == 80
    errors = [np.abs(a[..., 1].astype(int) - b).mean() for a, b in zip(pictures, film, strict=True)]
    assert max(errors) < 3
    assert np.allclose(np.diff(times), 1001 / 24000, atol=0.0012)  # Matroska counts milliseconds
    assert len(read(path, "off")[0]) == 100


def test_other_films_of_30_frames_a_second_are_not_taken_for_telecined(tmp_path):
    doubled = [picture for n, picture in enumerate(moving_blocks(64, 3)) for _ in range(1 + (n % 4 == 3))]
    for name, pictures in (
        ("a", moving_blocks(80, 3)),
        ("b", doubled),
        ("c", interlaced(80)),
        ("d", 80 * [doubled[0]]),
    ):
        path = encode(tmp_path / f"{name}.mkv", pictures, rate=NTSC)
        assert find_telecine(path) is None
        assert len(read(path)[0]) == 80


def test_a_part_that_is_video_keeps_its_frames_in_a_telecined_film(tmp_path):
    pictures = telecined(moving_blocks(80, 3)) + moving_blocks(100, 4)[-50:]
    path = encode(tmp_path / "a.mkv", pictures, rate=NTSC)
    frames, times = read(path)
    assert len(frames) == 80 + 50
    assert np.diff(times).min() > 0.03


@pytest.mark.parametrize(
    "name, soft",
    [
        ("a.mpg", [True]),
        ("a.ts", [True, False]),
        ("a.mkv", [True, False]),
        ("a.ts", [False, True]),
        ("a.mkv", [False, True]),
    ],
)
def test_film_with_repeat_flags_keeps_its_frames_also_beside_telecined_parts(tmp_path, name, soft):
    film = moving_blocks(64, 3)
    film[20:28] = [film[20]] * 8  # stands still
    halves = [film[:32], film[32:]] if len(soft) == 2 else [film]
    parts = [grey_frames(half if is_soft else telecined(half)) for half, is_soft in zip(halves, soft, strict=True)]
    path = write_parts(tmp_path / name, list(zip(parts, soft, strict=True)))
    pictures, times = read(path)
    assert 64 <= len(pictures) <= 64 + (len(soft) == 2)  # a cycle that begins as film is kept whole
    assert abs(times[-1] - 63 * 1001 / 24000) < 0.04, times
    for number, own in enumerate(film):
        near = [p for p, t in zip(pictures, times, strict=True) if abs(t - number * 1001 / 24000) < 0.04]
        assert min(np.abs(picture[..., 1].astype(int) - own).mean() for picture in near) < 6


def test_rotation_survives_and_neighbours_are_of_one_size(tmp_path):
    path = encode(tmp_path / "a.mp4", interlaced(8), order="tff", rotation=90)
    assert {picture.shape for picture in read(path)[0]} == {(192, 128, 3)}
    parts = [interlaced(8), [picture[:64, :96] for picture in interlaced(8)]]
    parts = [encode(tmp_path / f"{n}.h264", part, order="tff") for n, part in enumerate(parts)]
    path = joined(tmp_path / "c.h264", *parts)
    assert [picture.shape[0] for picture in read(path)[0]] == 8 * [128] + 8 * [64]


def test_clips_are_deinterlaced_as_asked(tmp_path):
    path = encode(tmp_path / "a.mkv", interlaced(20), order="tff")
    found = {
        mode: combs(next(read_clips(path, 12, 30, 0, 0, ClipReport(), deinterlace=mode)).frames[5])
        for mode in ("auto", "on", "off")
    }
    assert found["auto"] == found["on"] < found["off"] / 50


def test_only_interlaced_and_telecined_film_has_other_frames_by_auto_than_by_off(tmp_path):
    film = [encode(tmp_path / "a.mkv", moving_blocks(20, 3)), encode(tmp_path / "b.mkv", interlaced(20), order="tff")]
    film.append(encode(tmp_path / "c.mkv", telecined(moving_blocks(60, 3)), rate=NTSC))
    assert [same_frames(path, "auto", "off") for path in film] == [True, False, False]
    assert not any(same_frames(path, "on", "off") for path in film)
