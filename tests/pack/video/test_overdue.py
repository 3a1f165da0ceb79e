"""Packets that gave no picture although they should have are named, and those that rightly give none are not."""

import re
from fractions import Fraction

import av
import pytest

from pack.video.reader import read_timed
from tests.support.media.videos import moving, twin_of, write


def overwritten(source, out, numbers):
    """A copy of a film in which the packets of these numbers hold bytes of no codec."""
    with av.open(str(source)) as before, av.open(str(out), "w") as after:
        stream = after.add_stream_from_template(before.streams.video[0])
        for number, packet in enumerate(packet for packet in before.demux(video=0) if packet.size):
            after.mux(twin_of(packet, stream, b"\xff" * packet.size if number in numbers else None))
    return out


@pytest.mark.parametrize("first, until", [(0, 24), (30, 48), (40, 60)])
@pytest.mark.parametrize(
    "name, codec, b_frames",
    [
        ("a.mkv", "mpeg2video", "0"),
        ("a.mp4", "mpeg2video", "0"),
        ("a.avi", "mpeg4", "0"),
        ("a.mkv", "libx264", "0"),
        ("a.mp4", "libx264", "2"),
    ],
)
def test_pictures_whose_bytes_are_all_lost_are_named(tmp_path, caplog, name, codec, b_frames, first, until):
    options = {"g": "12", "bf": b_frames, "sc_threshold": "0" if codec == "libx264" else "1000000000"}
    path = write(tmp_path / name, moving(60), codec, options=options)
    whole = [picture.seconds for picture in read_timed(path, 30)]
    assert len(whole) == 60 and not caplog.records
    numbers = range(first, until if until == 60 else until - 4)  # the rest of the group cannot be decoded either
    read = list(read_timed(overwritten(path, tmp_path / f"lost-{name}", numbers), 30))
    named = [re.search(r"damaged from ([\d.]+) s to ([\d.]+) s", line) for line in caplog.messages]
    lost = {time for time in whole if not any(abs(time - picture.seconds) < 0.01 for picture in read)}
    assert len(lost) >= until - first and all(named)
    for time in lost:
        assert any(float(span[1]) - 0.01 < time < float(span[2]) for span in named), float(time)
    if until < 60:
        assert read[-1].stretch >= 1, "a clip ends there"


@pytest.mark.parametrize("name, codec, options", [
    ("a.webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"}),
    ("b.webm", "libvpx-vp9", {"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"}),
    ("a.avi", "mpeg4", {"bf": "2"}),
    ("a.ts", "libx264", {"bf": "2", "x264-params": "tff=1"}),
    ("b.ts", "mpeg2video", {"bf": "2"}),
    ("a.mkv", "libx265", {"x265-params": "log-level=none:keyint=12"}),
])  # fmt: skip
def test_packets_that_rightly_give_no_picture_are_not_named(tmp_path, caplog, name, codec, options):
    path = write(tmp_path / name, moving(40), codec, options={"g": "12"} | options)
    assert len(list(read_timed(path, 30))) == 40 and not caplog.records


@pytest.mark.parametrize("extra", [b"\0\0\1\x0a", b"\x7f"])
def test_packets_without_a_picture_between_others_are_not_named(tmp_path, caplog, extra):
    path = tmp_path / "a.mkv"
    write(tmp_path / "b.ts", moving(20), options={"bf": "0", "g": "5"})
    with av.open(str(tmp_path / "b.ts")) as before, av.open(str(path), "w") as after:
        stream = after.add_stream_from_template(before.streams.video[0])
        for number, packet in enumerate(packet for packet in before.demux(video=0) if packet.size):
            for data in (bytes(packet), extra) if number == 10 else (bytes(packet),):
                one = av.Packet(data)
                one.pts = one.dts = 40 * number + 20 * (data is extra)
                one.time_base, one.stream, one.is_keyframe = Fraction(1, 1000), stream, packet.is_keyframe
                after.mux(one)
    assert len(list(read_timed(path, 30))) == 20 and not caplog.records


@pytest.mark.parametrize(
    "codec, unit",
    [
        ("libx264", b"\x09\xf0"),  # a delimiter
        ("libx264", b"\x06\x05\x01\xaa\x80"),  # supplemental information
        ("libx264", b"\x0c\xff\x80"),  # filler
        ("libx265", b"\x46\x01\x50"),
    ],
)
def test_a_packet_without_a_picture_is_no_damage(tmp_path, caplog, codec, unit):
    options = {"bf": "0", "x265-params": "log-level=none:bframes=0"}
    path = write(tmp_path / "a.mp4", moving(10), codec, options=options)
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.mkv"), "w") as out:
        copy = out.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                beside = av.Packet(len(unit).to_bytes(4) + unit)
                beside.pts = beside.dts = packet.pts + round(Fraction(1, 50) / packet.time_base)
                beside.time_base, beside.stream, packet.stream = packet.time_base, copy, copy
                out.mux([packet, beside] if number == 5 else packet)
    assert len(list(read_timed(tmp_path / "b.mkv", 10**6))) == 10 and not caplog.records
