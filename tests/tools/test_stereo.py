"""The program that converts a film: what it writes, says and refuses."""

import socket
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from model.checkpoint import save_network
from model.light_video_inpaint import LightVideoInpaint
from pack.video.reader import probe
from pack.video.shot_reader import read_shots
from tests.pack.video.frame_data.test_hdr import hdr_film
from tests.support.media.depth_files import nearness, write_export, write_pngs
from tests.support.media.stereo_films import clip_with_sound, packets, pictures
from tests.support.media.videos import moving, write
from tests.support.programs import held_at, refused, succeeds
from tools import stereo
from tools.stereo import main
from tools.synthesis.confidence import Confidence
from tools.synthesis.conversion import Converter


def size_of(path):
    found = probe(path)
    return found.width, found.height


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return clip_with_sound(tmp_path_factory.mktemp("film") / "film.mp4")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    save_network(path, LightVideoInpaint(base_dim=16, generator=torch.Generator().manual_seed(0)))
    return path


@pytest.mark.parametrize(
    ("words", "size"),
    [
        (("--layout", "sbs"), (192, 64)),
        (("--layout", "half-sbs"), (96, 64)),
        (("--layout", "tab", "--order", "rl"), (96, 128)),
        (("--layout", "half-tab", "--codec", "hevc10"), (96, 64)),
        (("--compare",), (192, 64)),
        (("--compare", "--checkpoint"), (288, 64)),
        (("--layout", "right", "--checkpoint"), (96, 64)),
    ],
)
def test_the_program_writes_a_film_that_plays(tmp_path, film, checkpoint, words, size):
    words = [*words, checkpoint] if words[-1] == "--checkpoint" else words
    out = succeeds(main, "--video", film, "-o", tmp_path / "o.mp4", "--device", "cpu", *words)
    assert "20 frames" in out and size_of(tmp_path / "o.mp4") == size
    assert len(packets(tmp_path / "o.mp4", "video")) == 20 and len(packets(tmp_path / "o.mp4", "audio")) > 40
    assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]


def test_the_program_says_what_it_will_do_and_names_the_film_by_its_layout(tmp_path, film, checkpoint, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("--video", film, "--layout", "half-tab", "--checkpoint", checkpoint, "--device", "cpu", "--seconds", 0.2)
    lines = succeeds(main, *words).splitlines()
    assert lines == [
        f"{film} -> film_3D_HTAB_TB.mp4: 4 frames of 96x64",
        "  picture: top and bottom at half the height, left eye on top; h264, crf 18",
        f"  network: {checkpoint}",
        "  audio track 1 (aac): copied",
        "film_3D_HTAB_TB.mp4: 4 frames, 0s, filled by tiny",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["film_3D_HTAB_TB.mp4"]


def test_the_program_says_how_long_it_will_take_before_the_first_frame(tmp_path):
    source = write(tmp_path / "a.mp4", moving(64))
    converted = []

    def convert(made, parts, shots, seconds, show):
        converted.append(parts.folder.parent)
        return Converter.usual(made, parts, shots, seconds, show)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Converter, "usual", Converter.convert, raising=False)
        patch.setattr(Converter, "convert", convert)
        lines = succeeds(main, "-i", source, "-o", tmp_path / "o.mkv", "--layout", "right", "--device", "cpu")
    assert [line for line in lines.splitlines() if "less than a minute left" in line or "frames/s: about" in line]
    assert converted[-1] == tmp_path and tmp_path not in converted[:-1] and len(converted) > 1


def test_the_left_eye_sees_the_film_itself(tmp_path, film):
    succeeds(main, "--video", film, "-o", tmp_path / "o.mp4", "--crf", 5, "--divergence", 6)
    ours, theirs = ([p for shot in read_shots(path) for _, p in shot] for path in (tmp_path / "o.mp4", film))
    for a, b in zip(ours, theirs, strict=True):  # in brightness: colours are stored at half the resolution, twice
        left, right, flat = (picture @ np.array([0.299, 0.587, 0.114]) for picture in (a[:, :96], a[:, 96:], b))
        assert np.abs(left - flat).mean() < 3
        assert np.abs(right - flat).mean() > 10


def test_hdr_stays_hdr_where_it_is_kept_and_its_depth_is_that_of_the_film_in_sdr(tmp_path, monkeypatch):
    film, seen = hdr_film(tmp_path / "a.mkv", np.linspace(0, 0.7, 16), transfer=16), []

    class Sees:
        metric = False

        def __call__(self, frames):
            seen.append(frames)
            return frames.mean(1, keepdim=True)

    monkeypatch.setattr(stereo, "choose_depth", lambda *_: Sees())
    words = ("--video", film, "--baseline", "replicate", "--divergence", 6)
    out = succeeds(main, *words, "-o", tmp_path / "hdr.mp4", "--hdr", "keep", "--codec", "hevc10", "--crf", 2)
    assert "HDR (PQ) is kept" in out and probe(tmp_path / "hdr.mp4").hdr.transfer == 16
    assert "HDR (PQ) becomes SDR" in succeeds(main, *words, "-o", tmp_path / "sdr.mp4")
    assert probe(tmp_path / "sdr.mp4").hdr is None
    assert (seen[0] - seen[1]).abs().max() < 6 / 255
    (_, kept), (_, source) = (next(next(read_shots(path, keep_codes=True))) for path in (tmp_path / "hdr.mp4", film))
    left, right = kept[:, :128].astype(int), kept[:, 128:].astype(int)
    assert np.abs(left - source).mean() < 65535 / 200 and np.abs(right - source).mean() > 65535 / 100
    line = refused(main, *words, "-o", tmp_path / "o.mp4", "--hdr", "keep")
    assert "--hdr keep needs 10 bits, --codec h264 has 8: pass --codec hevc10" in line


def test_a_conversion_that_fails_leaves_what_was_there(tmp_path, film, monkeypatch):
    (tmp_path / "o.mp4").write_bytes(b"an earlier one")

    def stops(_, parts, *__):
        parts.write(Fraction(0), pictures(1)[0])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stereo, "convert", stops)
    assert "No space left" in refused(main, "--video", film, "-o", tmp_path / "o.mp4")
    assert (tmp_path / "o.mp4").read_bytes() == b"an earlier one"
    assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]


def test_a_film_of_one_frame_is_converted(tmp_path):
    source = write(tmp_path / "one.mp4", moving(1))
    assert "1 frame," in succeeds(main, "--video", source, "-o", tmp_path / "o.mkv")
    assert size_of(tmp_path / "o.mkv") == (192, 64)


def test_only_the_asked_seconds_are_converted(tmp_path, film):
    assert "8 frames" in succeeds(main, "--video", film, "-o", tmp_path / "o.mp4", "--seconds", 0.4)
    assert 0.3 < max(t for t, _ in packets(tmp_path / "o.mp4", "audio")) < 0.4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-o", "x.avi"), "expected a name that ends with one of .mp4"),
        (("--baseline", "magic"), "--baseline magic"),
        (("--divergence", 0), "--divergence"),
        (("--checkpoint", "nowhere.pth"), "nowhere.pth"),
        (("--mapper", "nowhere"), "nowhere"),
        (("--layout", "right", "--order", "rl"), "--order rl needs a layout that shows both eyes"),
        (("--crf", 52), "--crf of 0 to 51"),
    ],
)
def test_a_mistake_is_one_line(film, words, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert said in refused(main, "--video", film, *words)
    assert list(tmp_path.iterdir()) == []


def test_no_film_and_the_film_itself_as_output_are_refused(tmp_path, film):
    (tmp_path / "text.mp4").write_text("no film")
    assert "text.mp4" in refused(main, "--video", tmp_path / "text.mp4")
    assert "nowhere.mp4" in refused(main, "--video", tmp_path / "nowhere.mp4")
    assert "is the film itself" in refused(main, "--video", film, "-o", film)


@pytest.mark.slow
def test_a_second_conversion_to_the_same_film_is_refused_and_the_lock_of_a_killed_one_taken_over(tmp_path, film):
    words = ("--video", film, "-o", tmp_path / "o.mp4", "--seconds", 0.2)
    with held_at("tools.stereo.convert", stereo.__name__, *words) as first:
        owner = f"process {first.pid} on {socket.gethostname()}"
        assert f"o.mp4 is being written by another conversion ({owner}): wait" in refused(main, *words)
    succeeds(main, *words)
    assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]


@pytest.mark.parametrize("form", ["numbers", "export", "export alone"])
def test_a_film_is_converted_with_depth_from_files(tmp_path, film, form, monkeypatch):
    monkeypatch.setattr("pack.depth.models.load_depth", None)  # no model is loaded
    depth = nearness(film)
    alone = film if form == "export alone" else None
    source = (write_pngs if form == "numbers" else partial(write_export, fps=20, film=alone))(tmp_path / "d", depth)
    words = ("-o", tmp_path / "o.mp4", "--depth", source, "--depth-range", "robust", "--device", "cpu")
    words = words if alone else (*words, "--video", film)
    assert "20 frames" in succeeds(main, *words)
    (source / ("" if form == "numbers" else "depth") / "00000012.png").unlink()
    assert "has no map for the frame at 0.60 s" in refused(main, *words)


def test_the_expected_error_of_each_frame_is_written_beside_the_film(tmp_path, film, checkpoint):
    Confidence((2.0, 0.5, 0.2, 0.1), "tiny").save(tmp_path / "confidence.json")
    depth = np.zeros((20, 32, 48), np.float32)
    depth[:, 10:22, 15:30] = 1  # a near box, which opens a hole beside it
    source = write_pngs(tmp_path / "d", depth)
    words = ("--video", film, "--depth", source, "--depth-range", "robust", "--device", "cpu", "--divergence", 8)
    words = (*words, "--checkpoint", checkpoint)
    sure = (*words, "--confidence", tmp_path / "confidence.json")
    succeeds(main, *sure, "-o", tmp_path / "o.mp4")
    maps = {path.name: path.read_bytes() for path in (tmp_path / "o.errors").iterdir()}
    assert sorted(maps) == [f"{number:08d}.png" for number in range(20)]
    errors = np.stack([np.asarray(Image.open(tmp_path / "o.errors" / name)) for name in sorted(maps)])
    assert errors.shape == (20, 64, 96) and 0 < (errors > 0).mean() < 0.5 and errors[errors > 0].min() >= 2
    succeeds(main, *words, "-o", tmp_path / "plain.mp4")  # the film is the same without them
    assert (tmp_path / "plain.mp4").read_bytes() == (tmp_path / "o.mp4").read_bytes()
    assert "no such file" in refused(main, *words, "--confidence", tmp_path / "none.json")
    assert "--confidence needs" in refused(main, *sure, "--synthetic-view", "both")


class NetworkOfNan:
    """A network whose weights are finite and whose output is not."""

    def infer(self, frames, holes):
        return frames * float("nan")


def test_a_network_whose_weights_are_not_finite_is_refused_before_a_film_is_written(film, tmp_path):
    network = LightVideoInpaint(base_dim=16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.mask_bias.fill_(float("nan"))
    save_network(tmp_path / "x.pth", network)
    words = ("-i", film, "-o", tmp_path / "o.mp4", "--checkpoint", tmp_path / "x.pth", "--device", "cpu")
    assert "mask_bias holds NaN or infinity" in refused(main, *words)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


def test_a_network_whose_output_is_not_finite_is_refused_before_a_film_is_written(
    film, tmp_path, checkpoint, monkeypatch
):
    monkeypatch.setattr("tools.synthesis.fills.load_network", lambda *_: NetworkOfNan())
    words = ("-i", film, "-o", tmp_path / "o.mp4", "--checkpoint", checkpoint, "--device", "cpu")
    assert "the output of this network is not finite" in refused(main, *words)
    assert not list(tmp_path.iterdir())
