import pytest
import torch

from pack.holes.kinds import KINDS
from tests.model.test_mask_mlbw import golden, golden_network
from tests.pack.holes.test_forward import golden_depth
from tools.synthesis.warps import grown, learned_left_eye, right_eye


@pytest.mark.parametrize("name", ["boxes", "sines"])
def test_the_learned_warp_makes_the_golden_left_eye(name):
    depth = golden_depth(name)
    with torch.inference_mode():
        eye, holes = learned_left_eye(golden_network(), depth, depth, 24, 0.5)
    torch.testing.assert_close(eye[..., ::2, ::2], golden(f"{name}_warped_s"), rtol=0, atol=2e-5)
    assert holes.dtype == torch.bool and holes.shape == depth.shape


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(96, 160), (150, 260)])
def test_every_warp_gives_an_eye_and_holes_of_the_frames_size(kind, size):
    frame = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        eye, holes = right_eye(kind, frame, golden_depth("boxes"), 8, 0.5, golden_network())
    assert eye.shape == frame.shape and holes.shape == (1, 1, *size) and holes.dtype == torch.bool
    assert 0 < holes.float().mean() < 0.6


@pytest.mark.parametrize("kind", ["forward", "monobw"])
def test_a_near_thing_moves_to_the_left_and_leaves_a_hole_on_its_right(kind):
    frame, depth = torch.zeros(1, 3, 40, 200), torch.zeros(1, 1, 40, 200)
    frame[..., 80:120] = depth[..., 80:120] = 1
    eye, holes = right_eye(kind, frame, depth, 10, 0, is_part=True)  # half of 10 percent of 200 pixels
    inside = eye[0, 0, 20] > 0.5
    assert inside[71:109].all() and not inside[:69].any()
    assert holes[0, 0, 20, 112:119].all() and not holes[0, 0, 20, :109].any() and not holes[0, 0, 20, 122:].any()


def test_only_the_sides_of_a_whole_film_are_free_of_monobw_holes():
    depth = torch.linspace(0, 1, 200).square().flip(0).expand(1, 1, 40, 200)
    depth = torch.cat((depth, torch.zeros_like(depth[..., :1])), -1)
    depth[..., :3] = 0
    frame = torch.rand(1, 3, 40, 201)
    _, whole = right_eye("monobw", frame, depth, 10, 0)
    _, part = right_eye("monobw", frame, depth, 10, 0, is_part=True)
    assert not whole[..., :21].any() and not whole[..., -21:].any()
    assert torch.equal(whole[..., 21:-21], part[..., 21:-21])


def test_holes_grow_by_pixels_of_the_depth_map():
    holes = torch.zeros(1, 1, 5, 60, dtype=torch.bool)
    holes[..., 30] = True
    assert grown("monobw", holes, 0, 0, 60).nonzero()[:, 3].unique().tolist() == [30]
    assert grown("monobw", holes, 1, 2, 60).nonzero()[:, 3].unique().tolist() == [29, 30, 31, 32]
    assert grown("monobw", holes, 1, 2, 30).nonzero()[:, 3].unique().tolist() == [28, 29, 30, 31, 32, 33, 34]


def test_holes_are_closed_except_those_of_the_learned_warp_whose_logits_were():
    holes = torch.zeros(1, 1, 9, 60, dtype=torch.bool)
    holes[..., [30, 33]] = True
    for kind, columns in (("forward", [30, 31, 32, 33]), ("monobw", [30, 31, 32, 33]), ("mlbw", [30, 33])):
        assert grown(kind, holes, 0, 0, 60).nonzero()[:, 3].unique().tolist() == columns
