"""Chapters of a stereo film are where those of its source are."""

from fractions import Fraction

import av
import pytest

from tests.support.media.stereo_films import copy_film
from tests.support.media.videos import flashing, write


def chapter(start, end, **metadata):
    return {"id": start, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": metadata}


def with_chapters(path, source, *chapters):
    with av.open(str(source)) as film, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(film.streams.video[0])
        out.set_chapters(list(chapters))
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    return path


@pytest.mark.parametrize("first", [0, 300])
def test_chapters_begin_where_they_did_also_late_ones_and_ones_without_a_title(tmp_path, first):
    chapters = chapter(first, 600, title="One"), chapter(600, 900), chapter(900, 1000, title="Three")
    source = with_chapters(tmp_path / "a.mkv", write(tmp_path / "plain.mkv", flashing(1)), *chapters)
    for name in ("o.mkv", "o.mp4", "o.mov"):
        copy_film(source, tmp_path / name)
        with av.open(str(tmp_path / name)) as container:
            found = [
                (float(one["start"] * one["time_base"]), one["metadata"].get("title", ""))
                for one in container.chapters()
            ]
        untitled = "" if name == "o.mkv" else "Chapter 2"
        before = [(0, "")] if first and name != "o.mkv" else []
        assert found == [*before, (first / 1000, "One"), (0.6, untitled), (0.9, "Three")]
