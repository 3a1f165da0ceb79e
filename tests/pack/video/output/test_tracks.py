"""What a container can hold, and what can be decoded, is found out by trial."""

from fractions import Fraction
from types import SimpleNamespace

import av
import pytest
from av.stream import Disposition

from pack.video.output import tracks
from pack.video.output.subtitles import SubtitleConverter
from tests.support.media.stereo_films import copy_film
from tests.support.media.videos import film


def fail(*_):
    raise av.error.MemoryError(12, "Cannot allocate memory")


def failing_head():
    yield fail()


def trials(path):
    """Each trial with a step in it that asks for more memory than there is."""
    with av.open(str(path)) as container:
        yield lambda: tracks.takes("matroska", container.streams.audio[0], failing_head())
        yield lambda: tracks._decodes(container.streams.audio[0], [SimpleNamespace(decode=fail)])
        converter = SubtitleConverter.__new__(SubtitleConverter)
        converter.decoder = SimpleNamespace(decode2=fail)
        yield lambda: any(converter.convert(SimpleNamespace(size=1, pts=0), Fraction(0)))


@pytest.mark.parametrize("short", [False, True])
def test_a_track_is_not_left_out_because_memory_is_short(tmp_path, monkeypatch, short):
    path = film(tmp_path / "a.mkv", 1)
    if short:  # else a damaged size asked for it
        monkeypatch.setattr("pack.video.container.np.empty", fail)
    for trial in trials(path):
        if short:
            with pytest.raises(MemoryError):
                trial()
        else:
            assert not trial()


def marked(source, out, **stated):
    """The film with a language, a title or marks of its sound."""
    with av.open(str(source)) as before, av.open(str(out), "w") as after:
        copies = [after.add_stream_from_template(stream) for stream in before.streams]
        copies[1].disposition = stated.pop("marks", Disposition.default)
        for copy in copies:
            copy.metadata.update(stated)
        chapter = {"start": 0, "end": 500, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}
        after.set_chapters([chapter | {"id": 1}])
        for packet in before.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                after.mux(packet)
    return out


@pytest.mark.parametrize("way", [["mkv", "mp4", "mkv"], ["mkv", "mov", "mp4"], ["mp4", "mov", "mov"]])
def test_titles_languages_and_marks_survive_every_container(tmp_path, way):
    path = marked(film(tmp_path / "a.mp4", 1), tmp_path / f"0.{way[0]}", language="fre", title="Commentary")
    for number, form in enumerate(way[1:], 1):
        lines = copy_film(path, tmp_path / f"{number}.{form}")
        assert lines == ["audio track 1 (aac, fre): copied"]  # chapters are no track of their own
        path = tmp_path / f"{number}.{form}"
    with av.open(str(path)) as container:
        picture, sound = container.streams[0], container.streams[1]
        assert len(container.chapters()) == 1
        assert picture.language == sound.language == "fre"
        assert {stream.metadata.get("title") or stream.metadata["name"] for stream in (picture, sound)} == {
            "Commentary"
        }
        assert picture.disposition & Disposition.default and sound.disposition & Disposition.default


@pytest.mark.parametrize("form", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("mark", ["comment", "original", "forced", "visual_impaired", "karaoke"])
def test_what_a_track_is_for_is_kept_or_named(tmp_path, form, mark):
    source = film(tmp_path / "a.mp4", 1)
    with av.open(str(source)) as container:
        container.streams.audio[0].disposition = Disposition[mark]
        lost = tracks._lost_marks(container.streams.audio[0], tracks.FORMATS[form])
    assert lost in ("", mark)
    with av.open(str(marked(source, tmp_path / f"b{form}", marks=Disposition[mark]))) as container:
        assert bool(container.streams.audio[0].disposition & Disposition[mark]) == (not lost)
    track = tracks.Track(1, "audio track 1 (aac)", "copy", lost="karaoke")
    assert str(track) == "audio track 1 (aac): copied, without the mark karaoke"
