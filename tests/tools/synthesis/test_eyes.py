"""Which eyes are made of a film, by which warp, and how many frames the queue keeps as context."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from model.light_video_inpaint import LightVideoInpaint
from pack.holes.mappers import mapper
from pack.video.shot_reader import Shot
from tests.model.test_mask_mlbw import write_network
from tests.support.media.videos import moving, write
from tests.support.programs import refused, succeeds
from tools.evaluation.baselines import BASELINES
from tools.stereo import main
from tools.synthesis.conversion import Converter
from tools.synthesis.views import Geometry, ShotState, paint, see

GEOMETRY = Geometry(6, 0.5, mapper("none"), edge_dilation=0)


def brightness(frames):  # (T 3 H W) -> (T 1 H W)
    return frames.mean(1, keepdim=True)


def shot(mirrored=False, count=14):  # a bright thing before a dark ground
    frame = torch.rand(3, 48, 96, generator=torch.Generator().manual_seed(0)) * 0.3
    frame[:, 12:36, 30:60] += 0.6
    frame = frame.flip(-1) if mirrored else frame
    pixels = (frame * 255).byte().permute(1, 2, 0).numpy()
    return [(Fraction(t), pixels) for t in range(count)]


def eyes(made, mirrored=False, overlap=(3, 3), **geometry):
    """The left and right eyes (14 3 48 96) of the shot, filled by `replicate`."""
    how = replace(GEOMETRY, both=made == "both", **geometry)
    converter = Converter(
        brightness,
        [BASELINES["replicate"]],
        how,
        lambda lefts, rights: torch.stack((lefts[0], rights[0])),
        torch.device("cpu"),
        made=made,
        overlap=overlap,
    )
    pairs = [pair for _, pair, _ in converter._pictures([(Shot(iter(shot(mirrored))), ShotState())])]
    return torch.stack(pairs).unbind(1)


@pytest.mark.parametrize("method", ["forward", "monobw"])
def test_a_made_left_eye_is_the_mirrored_right_eye_of_the_mirrored_film(method):
    left, frames = eyes("left", method=method)
    mirrored_frames, right = eyes("right", mirrored=True, method=method)
    assert torch.equal(left, right.flip(-1)) and torch.equal(frames, mirrored_frames.flip(-1))
    assert not torch.equal(left, frames)


def test_both_eyes_are_made_with_half_of_the_divergence_each():
    left, right = eyes("both")
    assert torch.equal(right, eyes("right", divergence=3)[1]) and torch.equal(left, eyes("left", divergence=3)[0])


@pytest.mark.parametrize("overlap", [(3, 0), (0, 5)])
@pytest.mark.parametrize("count", [1, 12, 13, 30])
def test_a_queue_with_other_context_gives_what_infer_gives(overlap, count):
    network = LightVideoInpaint(base_dim=4, generator=torch.Generator().manual_seed(0)).eval()
    gen = torch.Generator().manual_seed(1)
    frames, depth = torch.rand(count, 3, 32, 64, generator=gen), torch.zeros(count, 1, 32, 64)
    depth[..., 20:40] = 1
    views = [see(Fraction(t), frames[t : t + 1], depth[t : t + 1], GEOMETRY) for t in range(count)]
    found = list(paint(iter(views), [network.infer], overlap=overlap))
    assert [view.seconds for view, _ in found] == list(range(count))
    if count > 12:
        expected = network.infer(
            torch.stack([v.right for v in views]), torch.stack([v.holes for v in views]), overlap=overlap
        )
        torch.testing.assert_close(torch.stack([one for _, (one,) in found]), expected, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write(tmp_path_factory.mktemp("film") / "a.mp4", moving(15, (96, 64)))


@pytest.mark.parametrize(
    "words",
    [
        ("--method", "monobw_inpaint", "--synthetic-view", "both", "--overlap-frames", 3, 0),
        ("--method", "mlbw", "--synthetic-view", "left", "--overlap-frames", 2),
    ],
    ids=["monobw", "mlbw"],
)
def test_the_program_takes_every_method_and_view(film, tmp_path, words):
    if "mlbw" in words:
        words += ("--mask-model", write_network(tmp_path / "mask.pth"))
    out = succeeds(
        main, "--video", film, "-o", tmp_path / "o.mp4", "--device", "cpu", "--baseline", "replicate", *words
    )
    assert "15 frames" in out and (tmp_path / "o.mp4").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "backward"), "--method backward: expected one of forward, mlbw, monobw, forward_inpaint"),
        (("--method", "mlbw_l2_inpaint"), "pass it with --mask-model"),
        (("--overlap-frames", 9, 3), "at most 11 together"),
        (("--synthetic-view", "left", "--layout", "right"), "pass --synthetic-view right or both"),
    ],
)
def test_mistakes_are_one_line(film, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refused(main, "--video", film, *words)
    assert list(tmp_path.iterdir()) == []
