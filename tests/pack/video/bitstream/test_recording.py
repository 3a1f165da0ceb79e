"""Recordings that were joined with others."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pack.video.bitstream import recording
from pack.video.bitstream.program_tables import Kind, Tables
from pack.video.bitstream.recording import Recording, Scanner, find_change, first_tables, stride_of
from pack.video.reader import probe
from tests.support.media.stereo_films import copy_film
from tests.support.media.videos import beeps, film, flashes, joined, remuxed


def part(path, codec="libx264", sound="aac", seconds=1, **options):
    return film(path, seconds, codec, sound, **options)


@pytest.mark.parametrize(
    "codec, said", [("mpeg2video", "MPEG-2 instead of H.264"), ("libx264", "another H.264 stream")]
)
def test_a_recording_ends_where_its_picture_becomes_another_stream_which_is_read_from_there_on(tmp_path, codec, said):
    first, second = part(tmp_path / "a.ts"), part(tmp_path / "b.ts", codec, "mp2")
    if codec == "libx264":
        second = remuxed(first, tmp_path / "c.ts", {"mpegts_start_pid": "512", "mpegts_pmt_start_pid": "4352"})
    path = joined(tmp_path / "d.ts", first, second)
    with Recording(path, 188) as file:
        assert str(file.change) == said
        assert len(file.read()) == file.seek(0, 2) == file.end == file.change.place
    with Recording(path, 188, file.change.restart) as rest:
        data = rest.read()
        assert rest.change is None and rest.tell() == len(data) == rest.seek(0, 2)
        assert rest.seek(188) == rest.tell() == 188 and rest.read(10) == data[188:198]
    assert data == second.read_bytes()[188:]  # the first packet describes the service
    assert probe(path).joined == (said,) and not probe(first).joined


@pytest.mark.parametrize("sound", ["auto", "convert"])
def test_sound_that_becomes_another_codec_ends_there_and_the_picture_goes_on(tmp_path, caplog, sound):
    path = joined(tmp_path / "c.ts", part(tmp_path / "a.ts"), part(tmp_path / "b.ts", sound="mp2"))
    copy_film(path, tmp_path / "o.mp4", sound)
    assert len(flashes(tmp_path / "o.mp4")) == 2 and len(beeps(tmp_path / "o.mp4")) == 1
    (line,) = caplog.messages
    assert "audio track 1 (aac) is left out from 1.0" in line and line.endswith("where it becomes MPEG audio")


def test_sound_that_begins_too_late_to_be_known_is_named(tmp_path, caplog, monkeypatch):
    later = SimpleNamespace(tables=Tables(added={300: (4000, Kind(0x81)), 301: (4000, Kind(27))}))
    monkeypatch.setattr("pack.video.output.track_copier.recording_of", lambda _: later)
    path = part(tmp_path / "a.ts")
    copy_film(path, tmp_path / "o.mp4")
    assert caplog.messages == [f"{path}: the sound (AC-3) that begins at byte 4000 is left out"]


def test_the_place_does_not_depend_on_the_blocks_that_are_read_nor_on_damage_before(tmp_path):
    path = joined(tmp_path / "c.ts", part(tmp_path / "a.ts"), part(tmp_path / "b.ts", "mpeg2video", "mp2"))
    data, gen = path.read_bytes(), np.random.default_rng(0)
    place = (tmp_path / "a.ts").stat().st_size + 188  # the first packet describes the service
    for cut in (0, 0, 70, 500):  # bytes that are missing in the middle of the first one
        path.write_bytes(data[:10_000] + data[10_000 + cut :])
        with Recording(path, 188) as file:
            found = file.change
        assert found and found.place == place - cut
        with open(path, "rb") as file:
            scanner, change = Scanner(188, first_tables(file, 188)), None
            file.seek(0)
            while not change and (block := file.read(int(gen.integers(1, 5000)))):
                change = scanner.feed(block)
        assert change == found


def test_a_large_recording_is_sampled_and_read_in_order_it_ends_at_the_first_change(tmp_path, monkeypatch):
    one, other = part(tmp_path / "a.ts"), part(tmp_path / "b.ts", "mpeg2video", "mp2")
    monkeypatch.setattr(recording, "SAMPLE", 188 * 100)
    monkeypatch.setattr(recording, "SAMPLES", 4)
    for parts in ((one, other), (one, other, one)):
        path = joined(tmp_path / "c.ts", *parts)
        place = one.stat().st_size + 188
        with open(path, "rb") as file:
            found = find_change(file, path.stat().st_size, 188, first_tables(file, 188))
        assert len(parts) == 3 or (found and found.place == place)
        with Recording(path, 188) as read:
            size = len(b"".join(iter(partial(read.read, 1000), b"")))
            assert size == read.end == place


def test_only_recordings_are_taken_for_such(tmp_path):
    assert stride_of(part(tmp_path / "a.ts")) == 188
    assert stride_of(part(tmp_path / "a.m2ts")) == 192
    for name in ("a.mkv", "a.mp4"):
        assert stride_of(part(tmp_path / name)) is None
    (tmp_path / "b.ts").write_bytes(b"G" * 100)
    assert stride_of(Path(tmp_path / "b.ts")) is None
