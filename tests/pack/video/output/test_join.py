"""Films are written with the sound, titles and timestamps of their source."""

from fractions import Fraction
from itertools import zip_longest
from pathlib import Path

import av
import numpy as np
import pytest

from pack.video.bitstream.program_tables import _crc
from pack.video.colour import ToYuv
from pack.video.output.encoder import Encoding
from pack.video.output.tracks import plan_tracks
from pack.video.shot_reader import read_shots
from tests.support.media.edits import edited
from tests.support.media.stereo_films import clip_with_sound, copy_film, packets, write_film
from tests.support.media.videos import beeps, film, flashes, joined, moving, remuxed, twin_of, write


def in_time(path):
    """Whether each flash has its beep, within a frame; the first beep may have lost its beginning in the encoder."""
    white, loud = flashes(path), beeps(path)
    return len(white) >= 2 and all(min(abs(w - b) for b in loud) < 0.041 for w in white[1:])


@pytest.mark.parametrize("out", ["o.mp4", "o.mkv"])
@pytest.mark.parametrize(
    "name, codec, sound",
    [
        ("a.mp4", "libx264", "aac"),
        ("a.mov", "libx264", "pcm_s16le"),
        ("a.mkv", "libx264", "flac"),
        ("b.mkv", "libx264", "pcm_s16le"),
        ("a.ts", "libx264", "aac"),
        ("b.ts", "mpeg2video", "mp2"),
        ("a.avi", "libx264", "libmp3lame"),
        ("b.avi", "mpeg4", "pcm_s16le"),
        ("a.vob", "mpeg2video", "ac3"),
        ("a.webm", "libvpx-vp9", "libopus"),
        ("a.flv", "libx264", "aac"),
        ("a.wmv", "wmv2", "wmav2"),
    ],
)
def test_beep_and_flash_stay_together(tmp_path, caplog, name, codec, sound, out):
    source = film(tmp_path / name, 3, codec, sound, form="vob" if name.endswith("vob") else None)
    copy_film(source, tmp_path / out)
    assert in_time(tmp_path / out)
    assert not caplog.records
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_beep_and_flash_stay_together_where_recordings_were_joined_or_begin_anywhere(tmp_path):
    part = film(tmp_path / "part.ts", 3)
    data = part.read_bytes()
    (tmp_path / "cut.ts").write_bytes(data[len(data) // 6 // 188 * 188 :])
    film(tmp_path / "wrap.ts", 3, start=95442)
    joined(tmp_path / "twice.ts", part, part)
    for name in ("cut", "wrap", "twice"):
        copy_film(tmp_path / f"{name}.ts", tmp_path / f"{name}.mp4")
        assert in_time(tmp_path / f"{name}.mp4")
    assert len(flashes(tmp_path / "twice.mp4")) == 6
    assert flashes(tmp_path / "wrap.mp4")[0] < 0.1


def with_programs(path, *recordings):
    """One recording in MPEG-TS of several, which have other identifiers: each is a program of its own."""
    packets = [[data[n : n + 188] for n in range(0, len(data), 188)] for data in map(Path.read_bytes, recordings)]
    tables = [next(one for one in each if one[1:3] == b"\x40\0") for each in packets]
    section = b"\0\xb0" + bytes([9 + 4 * len(tables)]) + tables[0][8:13] + b"".join(one[13:17] for one in tables)
    check = _crc(section).to_bytes(4)
    table = (tables[0][:5] + section + check).ljust(188, b"\xff")
    mixed = [one for group in zip_longest(*packets) for one in group if one]
    path.write_bytes(b"".join(table if one[1:3] == b"\x40\0" else one for one in mixed))
    return path


@pytest.mark.parametrize("later", [0, 1])
def test_a_program_of_a_recording_knows_nothing_of_the_clock_and_the_sound_of_another(tmp_path, later):
    whole, parts = film(tmp_path / "a.ts", 2), []
    for number in range(2):
        numbers = {
            "mpegts_start_pid": str(256 + 32 * number),
            "mpegts_pmt_start_pid": str(4096 + number),
            "mpegts_service_id": str(1 + number),
        }
        parts.append(remuxed(whole, tmp_path / f"{number}.ts", numbers, earlier=-1000 * (number == later)))
    source = with_programs(tmp_path / "both.ts", *parts)
    with av.open(str(source)) as container:
        assert [len(container.streams.video), len(container.streams.audio)] == [2, 2]
    tracks = copy_film(source, tmp_path / "o.mp4", "copy")
    assert [track.split(": ")[1] for track in tracks] == [
        *("copied", *["left out, it belongs to another program of the recording"] * 2)
    ]
    assert in_time(tmp_path / "o.mp4") and flashes(tmp_path / "o.mp4")[0] < 0.1


@pytest.mark.parametrize("out, sound", [("o.mp4", "auto"), ("o.mkv", "auto"), ("o.mp4", "convert")])
def test_sound_that_an_edit_list_cuts_off_stays_away(tmp_path, out, sound):
    no_shift = {"avoid_negative_ts": "disabled"}
    source = remuxed(film(tmp_path / "a.mp4", 3), tmp_path / "b.mp4", no_shift, earlier=Fraction(3, 5))
    with av.open(str(source)) as container:
        assert sum(packet.is_discard for packet in container.demux(audio=0)) > 20
    copy_film(source, tmp_path / out, sound)
    times = flashes(tmp_path / out)
    assert times == pytest.approx([0.4, 1.4], abs=0.07)
    assert beeps(tmp_path / out) == pytest.approx(times, abs=0.041)


@pytest.mark.parametrize("sound", ["auto", "convert"])
def test_sound_follows_the_parts_of_an_edit_list(tmp_path, sound):
    source = edited(film(tmp_path / "a.mp4", 2), tmp_path / "b.mp4", [(0, 0.4), (0.8, 1.3)])
    copy_film(source, tmp_path / "o.mp4", sound)
    assert flashes(tmp_path / "o.mp4") == pytest.approx([0, 0.6], abs=0.041)
    assert beeps(tmp_path / "o.mp4")[-1] == pytest.approx(0.6, abs=0.041)


def test_sound_that_changes_its_channels_and_its_rate_is_converted_to_those_that_it_began_with(tmp_path):
    first = film(tmp_path / "a.ts", 1, sound="mp2")
    later = film(tmp_path / "b.ts", 1, sound="mp2", layout="mono", sound_rate=32000)
    copy_film(joined(tmp_path / "c.ts", first, later), tmp_path / "o.mp4", "convert")
    assert in_time(tmp_path / "o.mp4")
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert {(frame.layout.name, frame.sample_rate) for frame in container.decode(audio=0)} == {("stereo", 48000)}


@pytest.mark.parametrize("sound", ["auto", "convert"])
def test_sound_that_begins_behind_a_joint_of_recordings_is_kept(tmp_path, sound):
    first = film(tmp_path / "a.ts", 2, "mpeg2video", "mp2")
    with av.open(str(first)) as source, av.open(str(tmp_path / "b.ts"), "w") as out:
        copies = [out.add_stream_from_template(source.streams[index]) for index in (0, 1, 1)]
        for packet in source.demux():
            for copy in (copies[:1] if packet.stream.index == 0 else copies[1:]) if packet.size else ():
                out.mux(twin_of(packet, copy))
    copy_film(joined(tmp_path / "c.ts", first, tmp_path / "b.ts"), tmp_path / "o.mp4", sound)
    assert np.allclose(beeps(tmp_path / "o.mp4"), flashes(tmp_path / "o.mp4"), atol=0.06)
    assert np.allclose(beeps(tmp_path / "o.mp4", 1), beeps(tmp_path / "o.mp4")[2:], atol=0.06)


def test_sound_ends_where_the_file_cannot_be_read_any_further(tmp_path):
    source = film(tmp_path / "a.mov", 3)
    data = bytearray(source.read_bytes())
    size = data.index(b"stsz", data.index(b"soun")) + 16 + 100 * 4  # of the sound's 101st packet
    data[size : size + 4] = bytes.fromhex("3fffffff")
    source.write_bytes(data)
    with av.open(str(source)) as container, pytest.raises(av.MemoryError):
        list(container.demux())
    copy_film(source, tmp_path / "o.mp4")
    assert beeps(tmp_path / "o.mp4") == pytest.approx([0, 1, 2], abs=0.03)


def with_sound(path, samples, layout, codec="pcm_s16le", **options):  # int16 (T C) at 48 kHz
    """A film of one second with this sound and a pause of it from 0.4 s to 0.8 s."""
    with av.open(str(path), "w") as out:
        picture = out.add_stream("ffv1", rate=25)
        track = out.add_stream(codec, rate=48000, layout=layout, options=options)
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p"
        for number, frame in enumerate(moving(25)):
            frame.pts = number
            out.mux(picture.encode(frame))
        for start in range(0, 48000, 960):
            if not 0.4 <= start / 48000 < 0.8:
                part = av.AudioFrame.from_ndarray(samples[start : start + 960].reshape(1, -1), "s16", layout)
                part.pts, part.sample_rate, part.time_base = start, 48000, Fraction(1, 48000)
                out.mux(track.encode(part))
    return path


@pytest.mark.parametrize("layout, made", [("7.1", "7.1"), ("quad", "4.0"), ("5.1(side)", "5.1")])
def test_channels_and_pauses_of_converted_sound_keep_their_places(tmp_path, layout, made):
    names = [channel.name for channel in av.AudioLayout(layout).channels]
    samples = np.zeros((48000, len(names)), np.int16)
    samples[:, -1] = 8000 * np.sin(np.arange(48000) / 10)  # the last one, behind or beside on the right
    copy_film(with_sound(tmp_path / "a.mkv", samples, layout), tmp_path / "o.mp4", "convert")
    with av.open(str(tmp_path / "o.mp4")) as container:
        layout = container.streams.audio[0].layout
        packed = av.AudioResampler("flt", layout, 48000)
        heard = [
            frame.to_ndarray().reshape(-1, layout.nb_channels)
            for frame in container.decode(audio=0)
            for frame in packed.resample(frame)
        ]
    heard, time = np.abs(np.concatenate(heard)), np.arange(sum(map(len, heard))) / 48000
    assert layout.name == made
    loud = heard[(time > 0.1) & (time < 0.3)].max(0)
    assert loud.argmax() == layout.nb_channels - 1 and np.sort(loud)[-2] < 0.02 < 0.1 < loud.max()
    assert heard[(time > 0.5) & (time < 0.7)].max() < 0.02 and heard[(time > 0.85) & (time < 0.95)].max() > 0.1


@pytest.mark.parametrize("layout", ["ambisonic 1", "ambisonic 1+stereo", "ambisonic 2"])
def test_ambisonic_sound_becomes_stereo_and_is_named(tmp_path, layout):
    """A source on the left, of which the first two channels have the same, in ACN and SN3D."""
    tone = 12000 * np.sin(np.arange(48000) / 10)
    samples = np.zeros((48000, av.AudioLayout(layout).nb_channels), np.int16)
    samples[:, :2] = tone[:, None]
    if layout.endswith("+stereo"):
        samples[:, -1] = tone / 2
    source = with_sound(tmp_path / "a.mkv", samples, layout, "libopus", mapping_family="2", b="512k")
    with av.open(str(source)) as container:
        assert container.streams.audio[0].layout.name == layout
    (track,) = plan_tracks(source, tmp_path / "o.mkv", "convert")
    assert str(track).endswith("converted to FLAC, as --sound convert asks; ambisonic sound becomes stereo")
    copy_film(source, tmp_path / "o.mkv", "convert")
    with av.open(str(tmp_path / "o.mkv")) as container:
        packed = av.AudioResampler("flt", "stereo", 48000)
        frames = [part for frame in container.decode(audio=0) for part in packed.resample(frame)]
        assert container.streams.audio[0].layout.name == "stereo"
    left, right = np.abs(np.concatenate([frame.to_ndarray().reshape(-1, 2) for frame in frames])[4800:14400]).max(0)
    assert left == pytest.approx(12000 / 32768, rel=0.1)
    assert right == pytest.approx(6000 / 32768 if layout.endswith("+stereo") else 0, abs=0.03)


def test_sound_is_copied_converted_or_left_out_as_asked(tmp_path):
    source = film(tmp_path / "a.wmv", 1, "wmv2", "wmav2")
    with pytest.raises(ValueError, match=r"cannot hold audio track 1 \(wmav2\).*--sound convert"):
        plan_tracks(source, tmp_path / "o.mp4", "copy")
    assert copy_film(source, tmp_path / "o.mp4") == ["audio track 1 (wmav2): converted to AAC, .mp4 cannot hold wmav2"]
    assert copy_film(source, tmp_path / "o.mkv", "convert") == [
        "audio track 1 (wmav2): converted to FLAC, as --sound convert asks"
    ]
    assert copy_film(source, tmp_path / "s.mp4", "none") == ["audio track 1 (wmav2): left out, as --sound none asks"]
    with av.open(str(tmp_path / "s.mp4")) as container:
        assert not container.streams.audio


def test_pcm_becomes_aac_in_mp4_which_few_programs_play_and_is_copied_elsewhere_or_as_asked(tmp_path):
    source = film(tmp_path / "a.mov", 1, sound="pcm_s24le")
    for name, sound, said in [
        ("o.mp4", "auto", "converted to AAC, few programs play pcm_s24le in .mp4"),
        ("o.mp4", "copy", "copied"),
        ("o.mov", "auto", "copied"),
        ("o.mkv", "auto", "copied"),
    ]:
        (track,) = plan_tracks(source, tmp_path / name, sound)
        assert str(track) == f"audio track 1 (pcm_s24le): {said}"


def subtitles(container):
    """(start, duration) in milliseconds and text of each line of the first track."""
    track, found = container.streams.subtitles[0], []
    for packet in container.demux(track):
        for line in packet.decode() if packet.size else ():
            start, stay = (round(ticks * packet.time_base * 1000) for ticks in (packet.pts, packet.duration))
            found.append((start, stay, line.dialogue))
    return found


def rich(path):
    """A film with two languages, titles, chapters and subtitles."""
    source = film(path.with_name("plain.mkv"), 2)
    with av.open(str(source)) as plain, av.open(str(path), "w") as out:
        video, sound = plain.streams.video[0], plain.streams.audio[0]
        picture = out.add_stream_from_template(video)
        tracks = [out.add_stream_from_template(sound) for _ in range(2)]
        for track, language, default in zip(tracks, ("jpn", "eng"), (0, 1), strict=True):
            track.metadata["language"], track.disposition = language, default
        words = out.add_mux_stream("subrip")
        words.time_base, words.metadata["language"] = Fraction(1, 1000), "fre"
        out.metadata["title"] = "My film"
        chapter = {"start": 0, "end": 1000, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}
        out.set_chapters([chapter | {"id": 1}])
        line = av.Packet(b"Hello")
        line.stream, line.time_base, line.pts, line.dts, line.duration = words, Fraction(1, 1000), 500, 500, 1000
        out.mux(line)
        for packet in plain.demux(video, sound):
            if packet.dts is None:
                continue
            for target in (picture,) if packet.stream is video else tracks:
                out.mux(twin_of(packet, target))
    return path


def test_languages_titles_chapters_and_subtitles_are_kept_where_the_container_can(tmp_path):
    source = rich(tmp_path / "rich.mkv")
    assert "subtitle track 3 (srt, fre): copied" in copy_film(source, tmp_path / "o.mkv")
    changed = copy_film(source, tmp_path / "o.mp4")
    assert "subtitle track 3 (srt, fre): converted to MP4's timed text, .mp4 cannot hold srt" in changed
    for name in ("o.mkv", "o.mp4"):
        with av.open(str(tmp_path / name)) as container:
            sounds = container.streams.audio
            assert [stream.language for stream in sounds] == ["jpn", "eng"]
            assert [bool(stream.disposition & av.stream.Disposition.default) for stream in sounds] == [False, True]
            assert container.metadata["title"] == "My film"
            assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One"]
            assert subtitles(container) == [(500, 1000, b"Hello")]
            assert container.streams.subtitles[0].language == "fre"


def test_the_title_and_language_of_the_picture_are_kept_and_a_timecode_does_not_stop_a_film(tmp_path):
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.metadata.update({"language": "ger", "title": "Film"})
        out.metadata["timecode"] = "00:00:00:00"
        for frame in moving(10):
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    for name in ("o.mp4", "o.mov", "o.mkv"):
        copy_film(source, tmp_path / name)
        with av.open(str(tmp_path / name)) as container:
            assert [stream.type for stream in container.streams] == ["video"]
            assert container.streams.video[0].language == "ger"


@pytest.mark.parametrize(
    "stated, kept", [("de-CH", "deu"), ("de", "deu"), ("ger", "ger"), ("zxx", "zxx"), ("pt_BR", "por")]
)
def test_a_language_of_matroska_is_kept_in_mp4_without_its_region(tmp_path, stated, kept):
    with av.open(str(film(tmp_path / "a.mp4", 1))) as source, av.open(str(tmp_path / "b.mkv"), "w") as out:
        copies = [out.add_stream_from_template(stream) for stream in source.streams]
        for copy in copies:
            copy.metadata["language"] = stated
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    copy_film(tmp_path / "b.mkv", tmp_path / "o.mp4")
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert [stream.language for stream in container.streams] == [kept, kept]


def test_a_track_of_an_unknown_codec_is_left_out_and_named(tmp_path):
    source = film(tmp_path / "a.mov", 1)
    source.write_bytes(source.read_bytes().replace(b"mp4a", b"apac").replace(b"esds", b"dapa"))
    assert copy_film(source, tmp_path / "o.mp4") == ["audio track 1 (unknown codec): left out, its codec is unknown"]
    assert len(flashes(tmp_path / "o.mp4")) == 1


def test_a_film_that_changes_its_size_is_followed(tmp_path):
    first = write(tmp_path / "a.h264", moving(20)).read_bytes()
    second = write(tmp_path / "b.h264", moving(20, size=(128, 128))).read_bytes()
    (tmp_path / "c.h264").write_bytes(first + second)
    shots = [list(shot) for shot in read_shots(tmp_path / "c.h264")]
    assert [len(shot) for shot in shots] == [20, 20]
    _, picture = shots[1][10]
    assert picture.shape == (64, 96, 3)
    assert not picture[:, :16].any() and not picture[:, 80:].any() and picture[:, 16:80].mean() > 60


def test_colours_lie_where_the_picture_is():
    """Blue waves of 32 pixels, whose phase in the chroma plane is that in the picture."""
    across = np.arange(256)
    picture = np.full((128, 256, 3), 128, np.uint8)
    picture[..., 2] = np.round(128 + 60 * np.sin(2 * np.pi * across / 32))
    frame = ToYuv(128, 256)(picture)
    plane = np.frombuffer(frame.planes[1], np.uint8).reshape(-1, frame.planes[1].line_size)
    blue, where = plane[:, 8:120].mean(0), 2 * np.arange(8, 120)
    waves = np.stack([np.sin(2 * np.pi * where / 32), np.cos(2 * np.pi * where / 32), np.ones(112)], 1)
    sine, cosine, _ = np.linalg.lstsq(waves, blue, rcond=None)[0]
    assert abs(np.arctan2(cosine, sine) * 32 / (2 * np.pi)) < 0.05  # pixels


def test_a_film_keeps_the_sound_and_the_clock_of_its_source(tmp_path):
    times = [0, 33, 80, 81, 150, *range(200, 950, 50)]  # of variable rate
    source = clip_with_sound(tmp_path / "a.mp4", times)
    copy_film(source, tmp_path / "b.mp4", every=6)
    assert packets(tmp_path / "b.mp4", "audio") == packets(source, "audio")
    ours, theirs = ([t for t, _ in sorted(packets(p, "video"))] for p in (tmp_path / "b.mp4", source))
    assert ours == pytest.approx([float(t) for t in theirs], abs=1e-4)


def test_a_film_shows_the_colours_that_it_was_given(tmp_path):
    wanted = np.zeros((63, 95, 3), np.uint8) + np.array([200, 40, 90], np.uint8)
    write_film(tmp_path / "b.mkv", clip_with_sound(tmp_path / "a.mp4"), [(0, wanted)], encoding=Encoding(crf=10))
    ((_, shown),) = next(read_shots(tmp_path / "b.mkv"))
    assert shown.shape == (64, 96, 3)
    assert np.abs(shown[:63, :95].astype(int) - wanted).max() <= 3
