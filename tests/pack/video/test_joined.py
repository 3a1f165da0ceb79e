"""Recordings whose picture becomes another stream, as where two were joined, are read to their end."""

import logging
from contextlib import closing

import av
import numpy as np
import pytest

from pack.video.grey import frame_times
from pack.video.joined import read_parts
from pack.video.output.tracks import plan_tracks
from pack.video.reader import Report, probe, read_clips, read_frames, read_timed
from pack.video.shot_reader import read_shots
from tests.support.media.stereo_films import copy_film
from tests.support.media.videos import beeps, film, flashes, joined, moving, remuxed, write
from tools.cli import UserError

ALL = 10**6
ELSEWHERE = {"mpegts_start_pid": "512", "mpegts_pmt_start_pid": "4352"}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Two recordings of 2 s, and the first one again with streams of other identifiers."""
    folder = tmp_path_factory.mktemp("recordings")
    first, second = film(folder / "a.ts", 2), film(folder / "b.ts", 2, "mpeg2video", "mp2")
    return first, second, remuxed(first, folder / "c.ts", ELSEWHERE)


@pytest.mark.parametrize("numbers", [(0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_all_pictures_of_joined_recordings_are_read_and_their_sound_stays_with_them(
    recordings, tmp_path, caplog, numbers
):
    parts = [recordings[number] for number in numbers]
    path = joined(tmp_path / "all.ts", *parts)
    read = list(read_timed(path, ALL))
    assert np.array_equal(
        [picture.pixels for picture in read], [frame for one in parts for frame in read_frames(one, 30)]
    )
    assert [picture.stretch for picture in read] == [n for n, _ in enumerate(parts) for _ in range(50)]
    seconds = [picture.seconds for picture in read]
    assert np.diff(seconds).min() > 0.039 and np.diff(seconds).max() < 0.12
    assert frame_times(path) == seconds
    info = probe(path)
    assert len(info.joined) == len(parts) - 1 and info.frames == 50 * len(parts)
    copy_film(path, tmp_path / "o.mp4")
    shown, heard = flashes(tmp_path / "o.mp4"), beeps(tmp_path / "o.mp4")
    assert len(shown) == len(heard) == 2 * len(parts)
    assert np.allclose(shown, heard, atol=0.02) and not caplog.records


def test_a_clock_that_goes_on_behind_a_joint_is_kept(tmp_path):
    first, second = film(tmp_path / "a.ts", 1), film(tmp_path / "b.ts", 1, "mpeg2video", "mp2", start=3)
    seconds = [float(picture.seconds) for picture in read_timed(joined(tmp_path / "c.ts", first, second), ALL)]
    with av.open(str(first)) as one, av.open(str(second)) as other:
        ends, begins = ((c.streams[0].start_time * c.streams[0].time_base) for c in (one, other))
    assert len(seconds) == 50 and np.diff(seconds).max() == pytest.approx(float(begins - ends) - 24 / 25, abs=1e-4)


def test_a_joint_ends_a_clip_and_a_film_keeps_its_first_size(recordings, tmp_path):
    other = write(tmp_path / "b.ts", moving(20, (128, 80)), "mpeg2video")
    path = joined(tmp_path / "c.ts", recordings[0], other)
    clips = [(clip.start, clip.frames.shape[1:3]) for clip in read_clips(path, 16, ALL, 0, 0, Report())]
    assert (50, (80, 128)) in clips and not any(34 < start < 50 for start, _ in clips)
    sizes = [picture.shape for shot in read_shots(path) for _, picture in shot]
    assert sizes == 70 * [(64, 96, 3)]


def first_packets(path, out, count):
    out.write_bytes(path.read_bytes()[: 188 * count])
    return out


@pytest.mark.parametrize("order", ["first", "between"])
def test_a_part_without_a_whole_picture_is_left_out_and_the_others_are_read(recordings, tmp_path, caplog, order):
    first, second, _ = recordings
    none = first_packets(second, tmp_path / "none.ts", 6)
    path = joined(tmp_path / "c.ts", *([none, first] if order == "first" else [first, none, first]))
    expected = list(read_frames(first, 30)) * (1 if order == "first" else 2)
    assert np.array_equal(list(read_frames(path, 30)), expected)
    (line,) = caplog.messages
    assert "left out" in line and probe(path).frames >= 50
    copy_film(path, tmp_path / "o.mp4")
    shown, heard = flashes(tmp_path / "o.mp4"), beeps(tmp_path / "o.mp4")
    assert len(shown) == len(heard) and np.allclose(shown, heard, atol=0.02)


def test_sound_that_cannot_be_copied_behind_a_joint_is_converted_or_refused(recordings, tmp_path):
    first, second, third = recordings
    both = joined(tmp_path / "c.ts", first, second)
    (track,) = plan_tracks(both, tmp_path / "o.mp4")
    assert str(track).endswith("converted to AAC, it becomes mp2 where another recording is joined")
    with pytest.raises(UserError, match="pass --sound convert"):
        plan_tracks(both, tmp_path / "o.mp4", "copy")
    (track,) = plan_tracks(joined(tmp_path / "d.ts", first, third), tmp_path / "o.mp4", "copy")
    assert track.codec == "copy"


def test_sound_that_only_a_later_recording_has_is_named(tmp_path):
    silent = write(tmp_path / "a.ts", moving(25))
    path = joined(tmp_path / "c.ts", silent, film(tmp_path / "b.ts", 1, "mpeg2video", "mp2"))
    (track,) = plan_tracks(path, tmp_path / "o.mp4")
    assert str(track) == "further sound (mp2): left out, it begins with another recording that is joined"


def test_sdr_behind_hdr_is_left_out_where_codes_are_kept(recordings, tmp_path, caplog):
    frames = [frame.reformat(format="yuv420p10le") for frame in moving(10)]
    options = {"x265-params": "log-level=none"}
    colour = {"color_trc": 16, "color_primaries": 9, "colorspace": 9}
    path = joined(
        tmp_path / "c.ts", write(tmp_path / "a.ts", frames, "libx265", options=options, color=colour), recordings[0]
    )
    assert len(list(read_timed(path, ALL, keep_codes=True))) == 10
    assert "becomes SDR where it was PQ: --hdr tonemap shows both" in caplog.text
    assert len(list(read_timed(path, ALL))) == 60


def test_a_part_begins_with_the_tables_that_list_its_streams(recordings, tmp_path):
    """Those of a broadcast need not stand together: FFmpeg reads a map only where the list of programs came before."""
    first, second, _ = recordings
    data = second.read_bytes()
    rows = [data[at : at + 188] for at in range(0, len(data), 188)]
    is_map = [row[1:3] == b"\x50\x00" for row in rows]
    own = first.read_bytes()
    tail = [own[at : at + 188] for at in range(0, len(own), 188) if own[at + 1 : at + 3] == b"\x01\x00"][-30:]
    place = is_map.index(True)
    path = tmp_path / "c.ts"
    path.write_bytes(own + b"".join([*rows[:place], *tail, *rows[place:]]))
    with closing(read_parts(path)) as parts:
        change = next(parts).change
        assert change.place == len(own) + 188 * (place + 30) and change.restart == len(own) + 188
        assert next(parts).start == change.restart
    logging.disable(logging.WARNING)
    read = list(read_frames(path, ALL))
    logging.disable(logging.NOTSET)
    assert np.array_equal(read[-50:], list(read_frames(second, ALL)))
