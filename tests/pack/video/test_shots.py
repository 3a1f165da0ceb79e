import numpy as np
import pytest

from pack.video.reader import read_frames
from pack.video.shot_reader import read_shots
from pack.video.shots import LOOK, mark_cuts
from tests.support.media.videos import grey, write


def cuts_of(frames):
    return [number for number, (_, _, cut) in enumerate(mark_cuts(enumerate(frames))) if cut]


def pan(picture, steps, width, stride):  # -> steps of (H width 3)
    """A camera that turns: windows on the picture, each `stride` further right."""
    return [picture[:, step * stride : step * stride + width] for step in range(steps)]


@pytest.fixture(scope="module")
def street(clips):
    """The first shots of bikes.mp4, the first cut at frame 30."""
    return [frame for _, frame in zip(range(60), read_frames(clips / "bikes.mp4", 30), strict=False)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, cuts",  # as seen on contact sheets
    [("bikes.mp4", [30, 76, 137, 187, 242]), ("cityCC0.mpg", [116]), ("bigbuckbunny.mp4", [])],
)
def test_real_videos_are_cut_where_the_eye_sees_cuts(clips, name, cuts):
    assert cuts_of(read_frames(clips / name, 30)) == cuts


def test_a_cut_is_found_at_half_the_rate_too(clips):
    assert cuts_of(read_frames(clips / "bikes.mp4", 12.5)) == [15, 38, 69, 94, 121]


@pytest.mark.parametrize("length", range(1, LOOK))
def test_a_flash_is_no_cut(street, length):
    frames = list(street[:30])
    for number in range(12, 12 + length):
        frames[number] = np.minimum(frames[number].astype(int) + 120, 255).astype(np.uint8)
    assert cuts_of(frames) == []


def test_a_fast_pan_is_no_cut(street):
    frames = pan(street[45], 20, 320, 16)  # a twentieth of the view a frame
    assert cuts_of(frames) == []


@pytest.mark.parametrize("backwards", [False, True])
def test_a_cut_between_calm_and_action_is_found(street, backwards):
    frames = street[20:30] + pan(street[45], 10, 640 - 9 * 40, 40)
    frames = [frame[:, :280] for frame in frames]
    assert cuts_of(frames[::-1] if backwards else frames) == [10]


def test_a_shot_of_one_frame_ends_and_begins(street, clips):
    city = next(read_frames(clips / "cityCC0.mpg", 30))[:272, :280]
    assert cuts_of([*pan(street[0], 9, 280, 8), city, *pan(street[45], 9, 280, 20)]) == [9, 10]


def test_a_cut_beside_the_first_or_the_last_frame_is_found(street):
    assert cuts_of(street[:31]) == [30]
    assert cuts_of(street[29:40]) == [1]


def test_frames_pass_unchanged_in_order_with_their_stamps(street):
    out = list(mark_cuts(enumerate(street)))
    assert [stamp for stamp, _, _ in out] == list(range(60))
    assert all(frame is street[stamp] for stamp, frame, _ in out)


def test_no_more_frames_are_held_than_it_looks_ahead(street):
    read = []
    source = ((number, read.append(number) or frame) for number, frame in enumerate(street))
    for stamp, _, _ in mark_cuts(source):
        assert len(read) <= stamp + LOOK


def test_an_empty_video_has_no_cuts():
    assert list(mark_cuts([])) == []


def test_different_shots_are_distinguished(tmp_path):
    path = write(tmp_path / "a.mp4", [grey(30) for _ in range(9)] + [grey(220) for _ in range(7)])
    assert [len(list(shot)) for shot in read_shots(path)] == [9, 7]
