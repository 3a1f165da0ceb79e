from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from pack import jobs
from pack.film_depth import DepthOptions, open_depth
from pack.sources import find_videos, fingerprint
from pack.video.export import read_pictures, sound_of
from pack.video.grey import frame_times
from pack.video.output.tracks import plan_tracks
from pack.video.reader import probe, read_frames, read_timed
from tests.support.media.depth_files import nearness, write_export
from tests.support.media.films import make_video, pack, records, refuse
from tests.support.programs import refused
from tools import preview, stereo
from tools.cli import MissingFile, UserError
from tools.film import __main__ as film_program

FRAMES = 20
PROGRAMS = [(stereo.main, ()), (film_program.main, ()), (preview.main, ())]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("film") / "film.mp4", FRAMES)


@pytest.fixture
def export(film, tmp_path):
    """With a name that FFmpeg's lists must quote."""
    return write_export(tmp_path / "it's: a film.v2", nearness(film), 512, 512, fps="30000/1001", film=film)


def test_an_export_with_pictures_is_read_like_a_film(film, export):
    video = probe(export)
    assert (video.width, video.height, video.frames) == (192, 144, FRAMES)
    assert video.fps == pytest.approx(30000 / 1001)
    pictures = list(read_timed(export, 10**6))
    assert all(np.array_equal(a.pixels, b) for a, b in zip(pictures, read_frames(film, 10**6), strict=True))
    assert [picture.seconds for picture in pictures] == frame_times(export)
    assert frame_times(export)[-1] == (FRAMES - 1) * Fraction(1001, 30000)


def test_pictures_that_are_missing_leave_their_time_free(export):
    for number in (3, 4, 9):
        (export / "rgb" / f"{512 * number:08d}.png").unlink()
    assert read_pictures(export).ticks == [0, 1, *range(4, 8), *range(9, FRAMES)]
    assert [picture.seconds for picture in read_timed(export, 10**6)] == frame_times(export)
    found = open_depth(str(export), probe(export), DepthOptions())  # each picture has its own map
    assert [found.index(seconds) for seconds in frame_times(export)] == [0, 1, *range(4, 8), *range(9, FRAMES)]


def test_stamps_do_not_drift_over_a_long_film(monkeypatch, export):
    long = [*range(3), 10**6, 10**6 + 1]
    for path in sorted((export / "rgb").iterdir())[5:]:
        path.unlink()
    for path, number in zip(sorted((export / "rgb").iterdir()), long, strict=True):
        path.rename(path.with_name(f"{number:08d}.png"))
    assert [picture.seconds for picture in read_timed(export, 10**6)] == [n * Fraction(1001, 30000) for n in long]


def test_records_of_an_export_are_those_of_the_film(film, tmp_path):
    export = write_export(tmp_path / "film.mp4", nearness(film), fps=25, film=film)
    words = ("--no-rotate", "--device", "cpu", "--skip-interval", "0")
    pack(tmp_path / "by_film", "--video", film, "--depth", export, *words)
    pack(tmp_path / "by_export", "--depth", export, *words)
    by_film, by_export = records(tmp_path / "by_film"), records(tmp_path / "by_export")
    assert by_film and len(by_film) == len(by_export)
    for a, b in zip(by_film, by_export, strict=True):
        assert a.key == b.key and np.array_equal(a.frames, b.frames) and np.array_equal(a.masks, b.masks)


def test_all_exports_of_a_folder_are_packed_and_another_export_under_the_same_name_is_refused(film, tmp_path):
    folder = tmp_path / "exports"
    for name in ("a", "b"):
        write_export(folder / name, nearness(film), film=film)
    words = ("--depth", folder, "--no-rotate", "--device", "cpu")
    assert "2 videos packed" in pack(tmp_path / "out", *words)
    assert find_videos([str(folder / "a")]) == [folder / "a"]
    Image.new("RGB", (192, 144)).save(folder / "a/rgb/00000003.png")
    assert "sha256_of_ends is" in refuse(tmp_path / "out", *words)
    assert fingerprint(folder / "a")["sha256_of_ends"] != fingerprint(folder / "b")["sha256_of_ends"]


def test_a_job_may_name_an_export_alone(film, tmp_path):
    write_export(tmp_path / "x", nearness(film), film=film)
    (tmp_path / "jobs.csv").write_text(f"depth,split\n{tmp_path / 'x'},eval\n")
    (job,) = jobs.read_jobs(tmp_path / "jobs.csv", tmp_path / "out")
    assert job.config.depth == str(tmp_path / "x") and str(tmp_path / "x") in job.name


def test_the_sound_is_that_beside_the_pictures(film, export, tmp_path):
    assert sound_of(film) == film and sound_of(export) == export
    assert plan_tracks(export, tmp_path / "o.mkv") == []
    loud = write_export(tmp_path / "loud", nearness(film), film=film, audio_file="audio.m4a")
    with pytest.raises(MissingFile, match=r"audio\.m4a, which is missing: copy it, or pass --sound none"):
        sound_of(loud)
    assert sound_of(loud, False) == loud


def said_by(main, *words):
    return refused(main, *words, "--device", "cpu")


@pytest.mark.parametrize(("main", "words"), PROGRAMS)
def test_every_program_says_in_one_line_what_an_export_lacks(main, words, film, export, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "--video is missing" in said_by(main, *words)
    assert "no such file or folder" in said_by(main, "--depth", tmp_path / "none")
    write_export(tmp_path / "bare", nearness(film))
    assert "has no pictures (iw3 was run with --export-depth-only): pass the film" in said_by(main, "--depth", "bare")
    for path in (export / "rgb").iterdir():
        path.rename(path.with_suffix(".kept"))
    assert "holds no picture such as 00000000.png" in said_by(main, "--depth", export)
    (export / "rgb").rename(tmp_path / "elsewhere")
    assert "of its pictures, which is missing" in said_by(main, "--depth", export)
    (export / "depth").rename(tmp_path / "maps")
    assert "of its depth, which is missing" in said_by(main, "--depth", export)
    assert "holds depth alone: pass the film as --video" in said_by(main, "--depth", "maps")
    (export / "iw3_export.yml").unlink()
    assert "is a folder without iw3_export.yml" in said_by(main, "--video", export)
    (tmp_path / "maps").rename(export / "depth")
    assert "which iw3 writes last: the export is not finished" in said_by(main, "--depth", export)


def test_packing_says_in_one_line_what_an_export_lacks(film, export, tmp_path):
    assert "--dataset-dir is missing: pass videos, or --depth" in refuse(tmp_path / "out")
    (export / "depth" / "00000512.png").unlink()  # the first
    assert "has no map for the frame at 0.00 s (1 of 20" in refuse(tmp_path / "out", "--depth", export)
    (export / "rgb").rename(tmp_path / "elsewhere")
    assert "of its pictures, which is missing" in refuse(tmp_path / "out", "--depth", export)
    with pytest.raises(UserError, match="expected a video file, or a finished export"):
        probe(tmp_path)
