import logging
from fractions import Fraction

import numpy as np
import pytest

from pack.film_depth import DepthOptions, model_type, open_depth
from pack.geometry import rotate, transform_depth
from pack.video.grey import frame_times
from pack.video.reader import probe, read_frames
from tests.support.media.depth_files import as_16_bits, nearness, write_export, write_grey_video, write_pngs
from tests.support.media.films import Brightness, digests, make_video, pack, records, refuse
from tools.cli import MissingFile, UserError

FRAMES = 40


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("film") / "film.mp4", FRAMES)


@pytest.fixture(scope="module")
def depth(film):
    return nearness(film)


@pytest.fixture
def no_model(monkeypatch):
    def refuse_to_load(*_):
        raise AssertionError("a depth model was loaded")

    monkeypatch.setattr("pack.workers.load_depth", refuse_to_load)


def opened(source, film, **said):
    return open_depth(str(source), probe(film), DepthOptions(**said))


def test_a_map_is_found_for_every_frame_in_every_form(film, depth, tmp_path):
    even = depth[:, : depth.shape[1] // 2 * 2, : depth.shape[2] // 2 * 2]
    np.savez(tmp_path / "all.npz", depth=as_16_bits(depth))
    np.save(tmp_path / "all.npy", depth[:, None])
    write_pngs(tmp_path / "plain", depth, first=1)
    write_export(tmp_path / "export", depth, first=7)
    write_export(tmp_path / "ticks", depth, first=512, step=512)
    write_grey_video(tmp_path / "grey.mkv", even)
    write_grey_video(tmp_path / "hevc.mp4", even, "libx265", "yuv420p10le")
    times = frame_times(film)
    assert len(times) == FRAMES and times[1] - times[0] == Fraction(1, 25)
    for source in sorted(tmp_path.iterdir()):
        found = opened(source, film)
        assert len(found.maps) == FRAMES
        for number in (0, 1, 17, FRAMES - 1, 3):  # backwards too
            read = found.read([times[number]])
            assert read.dtype == np.float32 and read.shape[:2] == (1, 1)
            assert np.abs(read[0, 0] - depth[number]).max() < 2 / 1023, source.name


def test_the_model_type_is_that_of_the_file(film, depth, tmp_path):
    assert model_type(str(write_export(tmp_path / "film", depth[:2]))) == "VDA_L"
    assert model_type(str(tmp_path)) == "VDA_L"  # a folder of several
    assert model_type(str(write_pngs(tmp_path / "plain", depth[:2]))) == "Files"


def test_packing_from_files_gives_the_records_that_the_model_would(film, depth, tmp_path, monkeypatch):
    monkeypatch.setattr("pack.workers.load_depth", Brightness)
    pack(tmp_path / "model", "--video", film, "--no-rotate", "--device", "cpu")
    np.savez(tmp_path / "d.npz", depth=depth)
    words = ("--video", film, "--no-rotate", "--depth", tmp_path / "d.npz", "--device", "cpu", "--model-type", "Motion")
    pack(tmp_path / "files", *words)
    by_model, by_files = records(tmp_path / "model"), records(tmp_path / "files")
    assert len(by_model) == len(by_files) > 2
    for a, b in zip(by_model, by_files, strict=True):
        assert a.key.replace("Motion", "Files") == b.key and np.array_equal(a.frames, b.frames)
        assert (a.masks != b.masks).mean() < 0.02 and b.masks.any()  # the model sees frames that are resized


@pytest.mark.parametrize("squeeze", [1, 2])
def test_depth_is_rotated_like_its_frames(film, squeeze):
    frames = np.stack(list(read_frames(film, 30)))[:2]
    depth = frames.mean(-1, dtype=np.float32)[:, None, ::1, ::squeeze]  # also of models with square maps
    turned = transform_depth(depth, frames.shape[1:3], 20.0)[:, 0]
    expected = rotate(frames, 20.0).mean(-1)
    step = expected.shape[1] / turned.shape[1]
    rows = (np.arange(turned.shape[1]) * step).astype(int)
    assert turned.shape[1] == turned.shape[2]
    assert np.abs(turned - expected[:, rows][:, :, rows]).mean() < 4 * squeeze


@pytest.mark.usefixtures("no_model")
def test_packing_again_with_other_depth_is_refused_and_the_same_is_skipped(film, depth, tmp_path):
    export = write_export(tmp_path / "film", depth)
    words = ("--video", film, "--depth", export, "--device", "cpu")
    pack(tmp_path / "out", *words)
    before = digests(tmp_path / "out")
    assert all(name.startswith("VDA_L_") for name in before)
    assert "packed before" in pack(tmp_path / "out", *words) and digests(tmp_path / "out") == before
    write_export(tmp_path / "other", depth[::-1])
    assert "depth is" in refuse(tmp_path / "out", "--video", film, "--depth", tmp_path / "other", "--device", "cpu")


@pytest.mark.usefixtures("no_model")
def test_scene_boundaries_are_cuts(film, depth, tmp_path):
    export = write_export(tmp_path / "film", depth, first=3, cuts=[3 + 20])
    assert "1 cut" in pack(tmp_path / "out", "--video", film, "--depth", export, "--divergence", 20)
    assert {record.info["start_frame"] for record in records(tmp_path / "out")} == {0, 20}


@pytest.mark.usefixtures("no_model")
def test_every_seventh_shot_can_be_held_out(film, depth, tmp_path):
    export = write_export(tmp_path / "film", depth, cuts=[20])
    words = ("--video", film, "--depth", export, "--divergence", 20, "--shots")
    pack(tmp_path / "held", *words, "1/2")
    pack(tmp_path / "rest", *words, "not:1/2")
    assert {record.info["start_frame"] for record in records(tmp_path / "held")} == {20}
    rest = [record.info for record in records(tmp_path / "rest")]
    assert {(info["start_frame"], info["divergence"]) for info in rest} == {(0, 20)}
    assert "--shots 7/7" in refuse(tmp_path / "x", *words, "7/7")


def test_polarity_and_metres_are_said_by_flag_or_by_yaml(film, depth, tmp_path):
    np.savez(tmp_path / "metres.npz", depth=10 - 9 * depth)
    found = opened(tmp_path / "metres.npz", film, metric="yes")
    assert found.metric and np.allclose(found.read([found.first])[0, 0], 9 * depth[0] - 10, atol=1e-5)
    far = opened(tmp_path / "metres.npz", film, large="far")
    assert not far.metric and far.sign == -1
    options = {"export_options": {"depth_model": "ZoeD_Any_N"}}
    export = opened(write_export(tmp_path / "film", depth, mapper="div_6", user_data=options), film)
    assert (export.metric, export.sign, export.mapper, export.is_disparity) == (True, 1, "div_6", False)
    flat = opened(write_export(tmp_path / "disparity", depth, skip_mapper=True, skip_edge_dilation=True), film)
    assert flat.is_disparity and flat.mapper == "none"


def test_a_missing_and_an_extra_map_are_named(film, depth, tmp_path, caplog):
    gap = write_pngs(tmp_path / "gap", depth)
    (gap / "00000017.png").unlink()
    with pytest.raises(UserError, match=r"0\.68 s \(1 of 40 .*00000016.png and .*00000018.png"):
        opened(gap, film)
    with pytest.raises(UserError, match=r"at 1\.40 s \(5 of 40"):
        opened(write_export(tmp_path / "short", depth[:35]), film)
    more = np.concatenate([depth, depth[:1]])
    with caplog.at_level(logging.WARNING):
        opened(write_export(tmp_path / "more", more), film)
        opened(write_pngs(tmp_path / "plain", more), film)
    assert caplog.text.count("1 map of 41 behind the film's last frame") == 2
    assert caplog.text.count("00000040.png") == 2


def test_depth_of_another_film_is_refused(film, depth, tmp_path):
    twice = np.concatenate([depth, depth])
    for source in (write_pngs(tmp_path / "a", twice), write_export(tmp_path / "b", twice)):
        with pytest.raises(UserError, match=r"40 maps of 80 behind the film's last frame.*another film"):
            opened(source, film)
    with pytest.raises(UserError, match=r"48x72, film\.mp4 is 192x144: expected depth of the same aspect ratio"):
        opened(write_pngs(tmp_path / "c", depth[:, :, ::2]), film)
    with pytest.raises(UserError, match="fewer frames per second"):
        opened(write_export(tmp_path / "d", depth[::2], fps="25/2"), film)


def test_damaged_sources_are_refused_in_one_line(film, depth, tmp_path):
    export = write_export(tmp_path / "e", depth)
    (export / "iw3_export.yml").unlink()
    with pytest.raises(MissingFile, match=r"no iw3_export\.yml, which iw3 writes last"):
        opened(export, film)
    for text, said in (
        ("type: images", "expected the export of a video"),
        ("a: [", "not valid YAML"),
        ("- 1", "holds no mapping"),
        ("type: video\nfps: 0", "fps is 0"),
        ("type: video\nfps: 25\nuser_data: {scene_boundary: a}", "scene_boundary is 'a', expected"),
        ("type: video\nfps: 25\nuser_data: 3", "user_data is 3"),
    ):
        (export / "iw3_export.yml").write_text(text)
        with pytest.raises(UserError, match=said):
            opened(export, film)
    plain = write_pngs(tmp_path / "plain", depth)
    (plain / "00000000.png").write_bytes((plain / "00000001.png").read_bytes()[:100])
    with pytest.raises(UserError, match=r"00000000.png is (cut short|not an image)"):
        opened(plain, film)
    (tmp_path / "x.npz").write_bytes(b"PK\3\4 no archive")
    np.savez(tmp_path / "two.npz", a=depth, b=depth)
    np.savez(tmp_path / "nan.npz", depth * np.nan)
    for name, said in (("x", "x.npz is"), ("two", "holds a, b"), ("nan", "NaN or infinity")):
        with pytest.raises(UserError, match=said):
            opened(tmp_path / f"{name}.npz", film)
    with pytest.raises(MissingFile, match="no such file or folder"):
        opened(tmp_path / "nowhere", film)
