"""Films are made of parts, which an interrupted conversion leaves for the next."""

import io
import json
import pickle
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from pack.video.frame_data.hdr import Hdr
from pack.video.output.encoder import CODECS, TIME_BASE, Encoding, PartWriter
from pack.video.output.join import join
from pack.video.output.parts import JOINED, Parts, fingerprint, lock_of
from pack.video.output.tracks import plan_tracks
from pack.video.reader import probe, read_timed
from tests.support.media.stereo_films import H264, write_film
from tests.support.media.videos import film, quarters
from tools.cli import UserError

TIMES = [Fraction(t, 1000) for t in (0, 33, 80, 81, 150, *range(200, 1500, 40))]  # of variable rate


def squares():
    """A square that goes to the right by 2 pixels a frame."""
    pictures = np.full((len(TIMES), 48, 96, 3), 40, np.uint8)
    for number, picture in enumerate(pictures):
        picture[16:32, 2 * number : 2 * number + 12] = 220
    return pictures


def shown(path):
    """(seconds, left side of the square) of each frame."""
    found = []
    for picture in read_timed(path, 10**6):
        bright = np.flatnonzero(picture.pixels[24, :, 1] > 128)
        found.append((float(picture.seconds), int(bright[0])))
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return film(tmp_path_factory.mktemp("film") / "a.mkv", 2)


@pytest.mark.parametrize("codec", ["h264", "hevc", "hevc10"])
@pytest.mark.parametrize("name", ["o.mp4", "o.mkv", "o.mov"])
def test_every_frame_of_joined_parts_is_shown_at_its_time(tmp_path, source, codec, name):
    write_film(tmp_path / name, source, zip(TIMES, squares(), strict=True), encoding=Encoding(codec, 12), every=10)
    seconds, lefts = zip(*shown(tmp_path / name), strict=True)
    assert seconds == pytest.approx([float(t) for t in TIMES], abs=6e-4 if name.endswith("mkv") else 1e-5)
    assert lefts == pytest.approx([2 * n for n in range(len(TIMES))], abs=1)
    with av.open(str(tmp_path / name)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == codec[:4]
        assert stream.pix_fmt == ("yuv420p10le" if codec == "hevc10" else "yuv420p")
        assert codec == "h264" or name.endswith("mkv") or stream.codec_context.codec_tag == "hvc1"
        frame = next(container.decode(stream))
    assert frame.color_range == ColorRange.MPEG and frame.colorspace == Colorspace.ITU709
    assert frame.color_primaries == ColorPrimaries.BT709 and frame.color_trc == ColorTrc.BT709


GRADED = "G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,50)"  # P3, 1000 cd/m2


@pytest.mark.parametrize("transfer", [16, 18])  # PQ, HLG
@pytest.mark.parametrize("name", ["o.mp4", "o.mkv"])
def test_hdr_keeps_its_codes_its_tags_and_what_it_says_of_its_light(tmp_path, source, name, transfer):
    hdr = Hdr(transfer, 9, *(("", "") if transfer == 18 else (GRADED, "1000,400")))
    ramp = np.linspace(0, 65535, 96).astype(np.uint16)[None, :, None].repeat(48, 0).repeat(3, 2)
    write_film(tmp_path / name, source, [(0, ramp), (1, ramp)], encoding=Encoding("hevc10", 1, "left_right", hdr))
    assert probe(tmp_path / name).hdr == hdr
    picture = next(read_timed(tmp_path / name, 30, keep_codes=True))
    error = (picture.codes.astype(int) - ramp) / (65535 / 876)  # in codes of 10 bits
    assert np.abs(error).max() < 2 and abs(error.mean()) < 0.25
    with av.open(str(tmp_path / name)) as container:
        frame = next(container.decode(video=0))
    assert (frame.format.name, frame.color_range, frame.colorspace) == ("yuv420p10le", ColorRange.MPEG, 9)
    assert (frame.color_trc, frame.color_primaries) == (transfer, 9)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_codecs_of_8_bits_cannot_keep_hdr(codec):
    with pytest.raises(UserError, match=f"--hdr keep needs 10 bits, --codec {codec} has 8: pass --codec hevc10"):
        Encoding(codec, hdr=Hdr(16, 9)).check()
    Encoding("hevc10", hdr=Hdr(16, 9)).check()


@pytest.mark.parametrize("codec", ["h264", "hevc10"])
@pytest.mark.parametrize(
    ("mode", "kind", "inverted"),
    [("left_right", 1, 0), ("right_left", 1, 1), ("top_bottom", 2, 0), ("bottom_top", 2, 1)],  # AVStereo3D
)
def test_the_stereo_mode_is_in_the_container(tmp_path, source, codec, mode, kind, inverted):
    pictures = [(TIMES[0], quarters(48, 96))]
    for name in ("o.mkv", "o.mp4", "o.mov"):
        write_film(tmp_path / name, source, pictures, encoding=Encoding(codec, stereo_mode=mode))
        with av.open(str(tmp_path / name)) as container:
            stream = container.streams.video[0]
            frame = next(container.decode(stream))
            assert name != "o.mkv" or stream.metadata["stereo_mode"] == mode
            container.seek(0)
            assert next(container.decode(audio=0)).samples
        stated = np.frombuffer(memoryview(frame.side_data[SideData.STEREO3D]), np.int32)[:2]
        assert stated.tolist() == [kind, inverted]
    boxes = {"left_right": b"\2", "top_bottom": b"\1", "right_left": b"\4"}  # of Spherical Video V2
    box = b"\0\0\0\x0dst3d\0\0\0\0"
    data = (tmp_path / "o.mp4").read_bytes()
    assert (box + boxes[mode] in data) if mode in boxes else (b"st3d" not in data)  # which knows no right eye on top


def test_a_film_has_the_same_bytes_each_time(tmp_path, source):
    for name in ("a.mkv", "b.mkv", "a.mp4", "b.mp4"):
        write_film(tmp_path / name, source, zip(TIMES, squares(), strict=True), every=10)
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def begun(out, frames=25, job=None, every=10):
    """Parts of a film that failed after so many frames."""
    with pytest.raises(KeyboardInterrupt), Parts(out, job or {}, H264, 25) as parts:
        for time, picture in zip(TIMES[:frames], squares(), strict=False):
            if parts.pending == every:
                parts.finish({"number": np.array(len(parts.ticks))})
            parts.write(time, picture)
        raise KeyboardInterrupt
    return parts


@pytest.mark.parametrize(("width", "height"), [(176, 176), (192, 108), (480, 270)])
def test_pictures_of_every_size_have_the_same_bytes_each_time(tmp_path, width, height):
    random = np.random.default_rng(0)
    ground = random.integers(0, 256, (height // 8 + 3, width // 8 + 3, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    found = set()
    for number in range(6):
        with PartWriter(tmp_path / f"{number}.mkv", Encoding(), Fraction(25)) as part:
            for tick in range(24):
                part.write(3600 * tick, ground[tick % 20 :, tick // 2 :][:height, :width])
        found.add((tmp_path / f"{number}.mkv").read_bytes())
    assert len(found) == 1


def test_finished_parts_are_kept_and_the_film_comes_out_as_without_an_interruption(tmp_path, source):
    whole, out = tmp_path / "whole.mp4", tmp_path / "o.mp4"
    write_film(whole, source, zip(TIMES, squares(), strict=True), every=10)
    parts = begun(out)
    assert sorted(path.name for path in parts.folder.iterdir()) == [
        "00000.mkv",
        "00001.mkv",
        "job.json",
        "progress.npz",
    ]
    (parts.folder / "00002.mkv").write_bytes(b"half written by a process that was killed")
    with Parts(out, {}, H264, 25) as parts:
        assert parts.finished == 20 and parts.state == {"number": 20} and not parts.complete
        assert not (parts.folder / "00002.mkv").exists()
        for time, picture in list(zip(TIMES, squares(), strict=True))[20:]:
            if parts.pending == 10:
                parts.finish({})
            parts.write(time, picture)
        parts.finish({}, complete=True)
        join(parts, source, plan_tracks(source, out))
        parts.remove()
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.mp4", "whole.mp4"]


def test_nothing_stays_where_no_part_was_finished(tmp_path):
    begun(tmp_path / "o.mp4", frames=5)
    assert not list(tmp_path.iterdir())


def test_parts_of_other_options_or_another_film_are_refused(tmp_path):
    job = {"film": "a", "divergence": 2.5, "layout": "sbs", "versions": ["1", "2"]}
    begun(tmp_path / "o.mp4", job=job)
    for change, words in [
        ({"divergence": 3.0, "layout": "tab"}, "--divergence 2.5 instead of 3.0, --layout sbs instead of tab"),
        ({"film": "b"}, "another film"),
        ({"versions": ["1", "3"]}, "another version"),
    ]:
        with pytest.raises(UserError, match=words), Parts(tmp_path / "o.mp4", job | change, H264, 25):
            pass
    with Parts(tmp_path / "o.mp4", job, H264, 25) as parts:
        assert parts.finished == 20


def test_damaged_and_missing_parts_are_refused(tmp_path, source):
    folder = begun(tmp_path / "o.mp4").folder
    progress = (folder / "progress.npz").read_bytes()
    (folder / "00000.mkv").rename(tmp_path / "away.mkv")
    with pytest.raises(UserError, match="lacks a part"), Parts(tmp_path / "o.mp4", {}, H264, 25):
        pass
    (folder / "00000.mkv").write_bytes((tmp_path / "away.mkv").read_bytes()[:-100])
    with Parts(tmp_path / "o.mp4", {}, H264, 25) as parts:
        parts.finish({}, complete=True)
        with pytest.raises(UserError, match=r"00000\.mkv is damaged"):
            join(parts, source, [])
    (folder / "progress.npz").write_bytes(progress[:-10])
    with pytest.raises(UserError, match="is damaged: delete"), Parts(tmp_path / "o.mp4", {}, H264, 25):
        pass
    assert json.loads((folder / "job.json").read_text())["format"] == 1


def test_the_lock_of_a_killed_conversion_is_no_file_of_somebody_else(tmp_path):
    parts = begun(tmp_path / "o.mp4")
    lock_of(parts.out).write_text("process 7 on a machine\n")
    with Parts(parts.out, {}, H264, 25) as parts:
        assert parts.finished == 20
    assert not lock_of(parts.out).exists() and parts.folder.exists()


def test_what_a_full_disk_left_of_a_part_goes_and_the_parts_before_stay(tmp_path, monkeypatch):
    out = tmp_path / "o.mp4"
    with pytest.raises(OSError, match="No space"), Parts(out, {}, H264, 25) as parts:
        parts.write(TIMES[0], squares()[0])
        parts.finish({})
        parts.write(TIMES[1], squares()[1])
        monkeypatch.setattr("pack.video.output.parts.os.fsync", full)
        parts.finish({})
    assert sorted(path.name for path in parts.folder.iterdir()) == ["00000.mkv", "job.json", "progress.npz"]


def full(_):
    raise OSError(28, "No space left on device")


def test_an_encoder_that_is_missing_is_one_line(monkeypatch):
    Encoding("h264").check()
    monkeypatch.setitem(CODECS, "hevc", replace(CODECS["hevc"], encoder="libx999"))
    with pytest.raises(UserError, match=r"--codec hevc needs libx999.*pass --codec h264"):
        Encoding("hevc").check()


def test_a_film_is_recognised_by_its_bytes(tmp_path):
    data = np.random.default_rng(0).bytes(10_000_000)
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path, changed in zip(paths, (data, data, data[:-1] + b"x"), strict=True):
        path.write_bytes(changed)
    a, b, c = map(fingerprint, paths)
    assert a == b != c


def test_ticks_ascend_where_stamps_do_not(tmp_path):
    with Parts(tmp_path / "o.mp4", {}, H264, 25) as parts:
        for time in (Fraction(-1, 100), Fraction(0), Fraction(0), TIME_BASE):
            parts.write(time, quarters(48, 96))
        assert parts.ticks == [0, 1, 2, 3]


def test_frames_may_be_an_hour_apart(tmp_path, source):
    with Parts(tmp_path / "o.mp4", {}, H264, 1 / 3600) as parts:
        for number in range(4):
            parts.write(Fraction(3600 * number), quarters(48, 96))
        parts.finish({}, complete=True)
        join(parts, source, [])
        parts.remove()
    assert [picture.seconds for picture in read_timed(tmp_path / "o.mp4", 10**6)] == [0, 3600, 7200, 10800]


@pytest.mark.parametrize("fps", [0, 1e-9, 1 / 3600, 23.976, 90000, 1e7])
def test_the_steps_of_every_rate_are_a_tick_or_more(tmp_path, fps):
    assert Fraction(1, 1001) <= Parts(tmp_path / "o.mp4", {}, H264, fps).rate <= 1 / TIME_BASE


def test_a_folder_of_other_files_is_refused_and_keeps_them(tmp_path):
    for names in (["notes.txt"], ["00000.mkv"], ["job.json", "film.mkv"]):
        folder = tmp_path / names[0] / "o.mp4.parts"
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_text("mine")
        with (
            pytest.raises(UserError, match="which is not of a conversion: move it"),
            Parts(folder.parent / "o.mp4", {}, H264, 25),
        ):
            pass
        assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_a_film_that_was_only_half_joined_is_no_file_of_somebody_else(tmp_path):
    with Parts(tmp_path / "o.mp4", {}, H264, 25) as parts:
        parts.write(Fraction(0), quarters(48, 96))
        parts.finish({}, complete=True)
    for ending in ("mp4", "mkv", "mov", "m4v"):
        (parts.folder / f"{JOINED}.{ending}").write_bytes(b"half")
    with Parts(tmp_path / "o.mp4", {}, H264, 25) as parts:
        assert parts.counts == [1] and not list(parts.folder.glob(f"{JOINED}*"))


def test_files_that_come_during_a_conversion_are_kept(tmp_path):
    with Parts(tmp_path / "o.mp4", {}, H264, 25) as parts:
        (parts.folder / "mine.txt").write_text("mine")
    assert [path.name for path in parts.folder.iterdir()] == ["mine.txt"]


def arrays(**changes):
    usual = {"counts": np.array([10, 10]), "ticks": np.arange(20), "complete": np.array(False)}
    return {name: value for name, value in (usual | changes).items() if value is not None}


def saved(**changes):
    out = io.BytesIO()
    np.savez(out, **arrays(**changes))
    return out.getvalue()


def compressed():
    out = io.BytesIO()
    np.savez_compressed(out, **arrays(state_x=np.zeros(10**6)))
    return out.getvalue()


def npy():
    out = io.BytesIO()
    np.save(out, np.zeros(3))
    return out.getvalue()


PROGRESS = {
    "an array": npy(),
    "a pickle": pickle.dumps([1]),
    "compressed": compressed(),
    "objects": saved(counts=np.array([None])),
    "counts below one": saved(counts=np.array([25, -5])),
    "counts of another shape": saved(counts=np.array([[10, 10]])),
    "counts that are no whole numbers": saved(counts=np.array([10.0, 10.0])),
    "ticks that do not ascend": saved(ticks=np.zeros(20, np.int64)),
    "no ticks": saved(ticks=None),
    "complete of another shape": saved(complete=np.array([True, False])),
}


@pytest.mark.parametrize("kind", PROGRESS)
def test_progress_of_any_kind_is_one_line_and_no_part_is_deleted(tmp_path, kind):
    folder = begun(tmp_path / "o.mp4").folder
    (folder / "progress.npz").write_bytes(PROGRESS[kind])
    with pytest.raises(UserError, match="is damaged: delete"), Parts(tmp_path / "o.mp4", {}, H264, 25):
        pass
    assert (folder / "00000.mkv").exists() and (folder / "00001.mkv").exists()


@pytest.mark.parametrize("text", ["[1]", "[" * 100_000, "\0", "{"])
def test_a_description_of_any_kind_is_one_line(tmp_path, text):
    folder = begun(tmp_path / "o.mp4").folder
    (folder / "job.json").write_text(text)
    with pytest.raises(UserError, match="is damaged: delete"), Parts(tmp_path / "o.mp4", {}, H264, 25):
        pass
    assert (folder / "00000.mkv").exists()
