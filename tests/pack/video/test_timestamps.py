from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from pack.video.container import demux
from pack.video.grey import frame_times
from pack.video.reader import read_timed
from pack.video.timestamps import Packets, in_order, limit_rate
from tests.support.media.edits import edited
from tests.support.media.videos import film, flashing, joined, remuxed, write

ALL = 10**6


@pytest.mark.parametrize("rate", [24, 29.97, 31, 37, 50, 59.94, 75, 100, 119.88, 144, 240, 999])
def test_no_rate_is_exceeded_in_the_long_run_and_no_slower_one_loses_a_frame(rate):
    count = 20000
    left = [float(seconds) for seconds, _ in limit_rate(((Fraction(n) / Fraction(rate), n) for n in range(count)), 30)]
    assert len(left) <= 30 * count / rate + 2
    assert rate > 30 or len(left) == count
    assert np.diff(left).max() < 2 / 30 + 1e-9


def test_jitter_of_a_tenth_of_a_frame_to_either_side_loses_no_frame():
    jitter = np.random.default_rng(0).uniform(-0.0033, 0.0033, 1000)
    timed = [(Fraction(n, 30) + Fraction(float(late)), n) for n, late in enumerate(jitter)]
    assert len(list(limit_rate(timed, 30))) == 1000


def test_frames_at_the_rate_of_ntsc_keep_even_steps_through_a_whole_film():
    left = [n for _, n in limit_rate(((Fraction(1001 * n, 60000), n) for n in range(100_000)), 30)]
    assert left == list(range(0, 100_000, 2))


def stamps_of(seconds):
    frames = [SimpleNamespace(pts=s and round(100 * s), time_base=Fraction(1, 100)) for s in seconds]
    return [float(s) for s, _ in in_order(((frame,) for frame in frames), Fraction(1, 25))]


def test_stamps_that_go_backwards_are_sorted_without_accumulating_errors():
    decoding = [n / 25 for group in range(0, 96, 4) for n in (group, group + 2, group + 3, group + 1)]  # I P B B
    assert stamps_of(decoding) == [n / 25 for n in range(96)]


def test_a_missing_stamp_follows_the_one_before():
    assert stamps_of([4, None, 4.08, None]) == pytest.approx([4, 4.04, 4.08, 4.12])


@pytest.mark.parametrize("rate, max_fps, count", [(25, 100, 50), (60, 30, 60)])
def test_h264_in_avi_which_has_only_decoding_stamps_lasts_as_long_as_it_is(tmp_path, rate, max_fps, count):
    path = write(tmp_path / "a.avi", flashing(2, rate), rate=rate, options={"bf": "2"})
    seconds = [float(picture.seconds) for picture in read_timed(path, max_fps)]
    assert len(seconds) == count
    assert np.allclose(np.diff(seconds), 2 / count)


def test_stamps_that_all_are_the_same_are_spread():
    assert stamps_of([3] * 4) == pytest.approx([3, 3.04, 3.08, 3.12])
    assert stamps_of([0, 0.04, 0.04, 0.08, 0.12]) == pytest.approx([0, 0.04, 0.06, 0.08, 0.12])


def packets_of(path):
    """(kind, repaired decoding second) of each packet."""
    with av.open(str(path)) as container:
        return [
            (packet.stream.type, float(packet.dts * packet.time_base))
            for packet in Packets(container)
            if packet.dts is not None
        ]


@pytest.mark.parametrize("name, codec, sound", [("a.ts", "libx264", "aac"), ("a.vob", "mpeg2video", "ac3")])
def test_a_clock_that_is_set_back_goes_on_and_no_packet_is_lost(tmp_path, name, codec, sound):
    part = film(tmp_path / name, 3, codec, sound, form="vob" if name == "a.vob" else None)
    twice = joined(tmp_path / f"twice_{name}", part, part)
    packets = packets_of(twice)
    for kind in ("video", "audio"):
        seconds = [second for what, second in packets if what == kind]
        assert np.diff(seconds).min() > 0
        assert len(seconds) >= 2 * len([1 for what, _ in packets_of(part) if what == kind]) - 1
        assert seconds[-1] - seconds[0] == pytest.approx(6, abs=0.25)  # nothing but the longer of both ends counts
    pictures = [float(picture.seconds) for picture in read_timed(twice, ALL)]
    assert len(pictures) == 150 and pictures[-1] == pytest.approx(6, abs=0.15)


def test_a_jump_ahead_of_a_broadcast_is_closed_but_a_pause_of_its_sound_is_not(tmp_path):
    first, later = film(tmp_path / "a.ts", 2, start=1), film(tmp_path / "b.ts", 2, start=100)
    packets = packets_of(joined(tmp_path / "c.ts", first, later))
    assert max(second for _, second in packets) - packets[0][1] < 5
    quiet = write(tmp_path / "quiet.ts", flashing(30))
    assert packets_of(quiet)[-1][1] == pytest.approx(packets_of(quiet)[0][1] + 30, abs=0.1)


def test_a_long_pause_of_a_film_with_a_variable_rate_is_kept(tmp_path):
    path = write(tmp_path / "a.mkv", flashing(1, 4), times=[0, 0.1, 40, 80])
    assert [round(float(picture.seconds), 2) for picture in read_timed(path, ALL)] == [0, 0.1, 40, 80]


def test_a_film_begins_with_its_first_picture_or_sound_wherever_its_clock_does(tmp_path):
    path = film(tmp_path / "a.ts", 2, start=95440.3)  # 33 bits of 90 kHz wrap at 95443.7 s
    with av.open(str(path)) as container:
        assert Packets(container).origin < 0
    seconds = [float(picture.seconds) for picture in read_timed(path, ALL)]
    assert seconds[0] < 0.1 and np.allclose(np.diff(seconds), 0.04, atol=1e-4)


@pytest.mark.parametrize("with_sound", [True, False])
@pytest.mark.parametrize("seconds", [0.1, 1.5])
def test_pictures_before_0_which_have_no_stamp_in_matroska_stay_where_they_were(tmp_path, seconds, with_sound):
    whole = film(tmp_path / "whole.mp4", 3)
    no_shift = {"avoid_negative_ts": "disabled"}
    early = remuxed(whole, tmp_path / "early.mkv", no_shift, seconds, with_sound)
    with av.open(str(early)) as container:
        assert next(container.demux(video=0)).pts is None
    frames, expected = list(read_timed(early, ALL)), list(read_timed(whole, ALL))
    assert len(frames) == len(expected) == 75
    priming = 1024 / 48000 if with_sound else 0  # AAC's encoder begins so much before the first sound
    with av.open(str(early)) as container:
        assert float(Packets(container).origin) == pytest.approx(-seconds - priming, abs=0.003)
    for frame, other in zip(frames, expected, strict=True):
        assert float(frame.seconds) == pytest.approx(float(other.seconds) + priming, abs=0.003)
        assert np.array_equal(frame.pixels, other.pixels)
    assert frame_times(early) == [frame.seconds for frame in frames]


def test_a_film_whose_container_states_no_start_begins_at_0_and_loses_no_frame(tmp_path):
    for name, codec, frames in (("a.vob", "mpeg2video", 1), ("a.h264", "libx264", 20)):
        path = write(tmp_path / name, flashing(1)[:frames], codec)
        seconds = [picture.seconds for picture in read_timed(path, ALL)]
        assert len(seconds) == frames and seconds[0] == 0


def test_a_file_is_opened_once(tmp_path, monkeypatch):
    path, opened, real = film(tmp_path / "a.mkv", 1), [], av.open
    monkeypatch.setattr(av, "open", lambda *words, **options: opened.append(words) or real(*words, **options))
    with real(str(path)) as container:
        assert Packets(container).origin <= 0
    assert not opened


@pytest.mark.parametrize("parts", [[(0, 0.6), (1.7, 2.4)], [(2, 2.8), (0, 0.8)]])
def test_the_parts_of_an_edit_list_follow_each_other(tmp_path, caplog, parts):
    path = edited(film(tmp_path / "whole.mp4", 3), tmp_path / "a.mp4", parts)
    seconds = [float(picture.seconds) for picture in read_timed(path, ALL)]
    assert len(seconds) == pytest.approx(25 * sum(end - begin for begin, end in parts), abs=2)
    assert np.diff(seconds).max() < 0.13 and seconds[0] == 0 and not caplog.records


def test_a_stream_that_appears_in_the_file_does_not_end_it():
    class Growing:  # of a new stream PyAV reads memory that is not its own, so a file does not always show this
        name = "file:a.ts"

        def demux(self, streams):
            yield from ("first", "flush")
            raise IndexError("list index out of range")

    assert list(demux(Growing(), [])) == ["first", "flush"]
