"""Text subtitles are converted where the container cannot hold them."""

import re
from fractions import Fraction

import av
import pytest

from pack.video.output.subtitles import Line, until
from pack.video.output.tracks import plan_tracks
from tests.support.media.stereo_films import copy_film
from tests.support.media.videos import film

LINES = [(200, 500, "One"), (700, 600, "<i>Two</i>"), (1000, 500, "Three"), (1000, 200, "Four, five")]


def subtitled(path, font=b""):
    """A film with a track of text subtitles, of which some overlap, and a font."""
    source = film(path.with_name("plain.mp4"), 2)
    with av.open(str(source)) as plain, av.open(str(path), "w") as out:
        picture = out.add_stream_from_template(plain.streams.video[0])
        words = out.add_mux_stream("subrip")
        words.time_base = Fraction(1, 1000)
        if font:
            out.add_attachment("a.ttf", "application/x-truetype-font", font)
        for start, stay, text in LINES:
            line = av.Packet(text.encode())
            line.stream, line.time_base, line.pts, line.dts, line.duration = (
                words,
                Fraction(1, 1000),
                start,
                start,
                stay,
            )
            out.mux(line)
        for packet in plain.demux(plain.streams.video[0]):
            if packet.size:
                packet.stream = picture
                out.mux(packet)
    return path


def lines(path):
    """(start, end) in milliseconds and text of each line that is shown."""
    found = []
    with av.open(str(path)) as container:
        track = container.streams.subtitles[0]
        for packet in container.demux(track):
            for line in packet.decode() if packet.size else ():
                start, stay = (round(ticks * packet.time_base * 1000) for ticks in (packet.pts, packet.duration))
                text = re.sub(r"\{.*?\}", "", line.dialogue.decode())
                if text:
                    found.append((start, start + stay, text))
    return found


def test_lines_at_the_same_time_become_one():
    held = [Line(0, 400, b"a"), Line(100, 200, b"b")]
    assert list(until(held, 300)) == [Line(0, 100, b"a"), Line(100, 200, rb"a\Nb"), Line(200, 300, b"a")]
    assert list(until(held[:1], 1000)) == [Line(0, 400, b"a")]
    assert list(until([], 1000)) == []


@pytest.mark.parametrize("name", ["o.mp4", "o.mov"])
def test_every_line_of_subrip_is_shown_in_mp4(tmp_path, name):
    source = subtitled(tmp_path / "a.mkv")
    assert [str(track) for track in plan_tracks(source, tmp_path / name)] == [
        f"subtitle track 1 (srt): converted to MP4's timed text, .{name[2:]} cannot hold srt"
    ]
    copy_film(source, tmp_path / name)
    with av.open(str(tmp_path / name)) as container:
        packets = list(container.demux(container.streams.subtitles[0]))
    assert any(b"Two" in bytes(packet) and b"styl" in bytes(packet) for packet in packets)  # in italics
    assert [(start, end, text.replace("\n", "|")) for start, end, text in lines(tmp_path / name)] == [
        (200, 700, "One"),
        (700, 1000, "Two"),
        (1000, 1200, "Two|Three|Four, five"),
        (1200, 1300, "Two|Three"),
        (1300, 1500, "Three"),
    ]


def test_timed_text_of_mp4_becomes_subrip_in_matroska_and_is_copied_into_mp4(tmp_path):
    copy_film(subtitled(tmp_path / "a.mkv"), tmp_path / "b.mp4")
    assert copy_film(tmp_path / "b.mp4", tmp_path / "c.mkv") == [
        "subtitle track 1 (mov_text): converted to SubRip, .mkv cannot hold mov_text"
    ]
    assert copy_film(tmp_path / "b.mp4", tmp_path / "d.mp4") == ["subtitle track 1 (mov_text): copied"]
    assert lines(tmp_path / "c.mkv") == lines(tmp_path / "b.mp4") == lines(tmp_path / "d.mp4")


def test_fonts_are_kept_in_matroska(tmp_path):
    source = subtitled(tmp_path / "a.mkv", font=b"not really a font")
    assert "attachment a.ttf: copied" in copy_film(source, tmp_path / "b.mkv")
    with av.open(str(tmp_path / "b.mkv")) as container:
        (font,) = container.streams.attachments
        assert (font.name, font.mimetype, bytes(font.data)) == (
            "a.ttf",
            "application/x-truetype-font",
            b"not really a font",
        )
    assert lines(tmp_path / "b.mkv") == lines(source)
    assert "attachment a.ttf: left out, .mp4 cannot hold it, .mkv may" in copy_film(source, tmp_path / "b.mp4")
