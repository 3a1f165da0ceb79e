import numpy as np
import pytest
import torch

from model.mask_mlbw import FILE_NAME, NAME, MaskMLBW, hole_mask, holes_of, input_planes, load_mask_network, warp
from model.morphology import dilate_inner, dilate_outer
from pack.holes.mappers import mapper
from tests.pack.holes.test_forward import golden_depth
from tests.support import GOLDEN as GOLDEN_FOLDER

GOLDEN = np.load(GOLDEN_FOLDER / "mask_mlbw_B.npz")
# what iw3 writes with the network: its class has the name of all learned warps
KWARGS = {"num_layers": 2, "base_dim": 32, "small": False, "cycle": False, "hole_mask": True, "kwargs": {}}


def golden(name):
    return torch.from_numpy(GOLDEN[name])


@torch.no_grad()
def golden_network():
    net = MaskMLBW().eval()
    for k, (_, parameter) in enumerate(sorted(net.named_parameters())):
        i = np.arange(parameter.numel())
        amp = 0.1 if parameter.dim() == 1 else 0.5 / np.sqrt(parameter.numel() / len(parameter))
        values = amp * np.sin(0.37 * i + 0.63 * (i * i % 9973) + k)  # in float64
        parameter.copy_(torch.from_numpy(values).view_as(parameter))
    net.lv1_out[1].weight *= 20
    net.lv1_out[1].bias[4] = -1.75
    return net


def write_network(path, **changes):
    payload = {
        "nunif_model": 1,
        "name": FILE_NAME,
        "kwargs": KWARGS,
        "state_dict": golden_network().state_dict(),
        **changes,
    }
    torch.save(payload, path)
    return path


def test_state_has_the_golden_keys_shapes_and_offset_tables():
    state = MaskMLBW().state_dict()
    assert [f"{k} {tuple(v.shape)} {v.dtype}" for k, v in sorted(state.items())] == GOLDEN["keys"].tolist()
    assert sum(p.numel() for p in MaskMLBW().parameters()) == GOLDEN["n_params"] == 231633
    for block in range(4):
        assert torch.equal(state[f"lv2.{block}.bias.index"], golden("bias_index").long())
        torch.testing.assert_close(state[f"lv2.{block}.bias.delta"], golden("bias_delta"), rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", ["boxes", "sines"])
def test_network_has_the_golden_outputs(name):
    depth = golden_depth(name)
    planes = input_planes(depth, 24, 0.5)
    torch.testing.assert_close(planes.mean((0, 2, 3)), golden(f"{name}_input_mean"), rtol=0, atol=1e-6)
    with torch.no_grad():
        displacements, weights, logits = golden_network()(planes)
        warped = warp(depth, displacements, weights)
    outputs = {"delta": displacements, "weight": weights, "logit": logits, "warped": warped}
    for output, values in outputs.items():
        torch.testing.assert_close(values[..., ::2, ::2], golden(f"{name}_{output}_s"), rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["boxes", "sines"])
@pytest.mark.parametrize("curve", [None, "mul_1"])
def test_hole_masks_are_the_golden_ones(name, curve):
    mask = hole_mask(golden_network(), golden_depth(name), 24, 0.5, curve and mapper(curve), (96, 160))
    assert mask.dtype == torch.bool
    assert torch.equal(mask[0, 0], golden(f"{name}_mask_{curve}") > 0)


def test_holes_of_logits_are_the_golden_ones():
    holes = holes_of(golden("post_in"), (96, 160))  # the golden ones were dilated afterwards, over a base width of 80
    assert torch.equal(dilate_inner(dilate_outer(holes, 2, 80), 1, 80)[0, 0], golden("post_out") > 0)


def test_frames_of_a_batch_are_independent():
    net, depth = golden_network(), torch.cat([golden_depth("boxes"), golden_depth("sines")])
    alone = [hole_mask(net, frame, 24, 0.5, mapper("mul_1"), (120, 200)) for frame in depth.split(1)]
    assert torch.equal(hole_mask(net, depth, 24, 0.5, mapper("mul_1"), (120, 200)), torch.cat(alone))


@pytest.mark.parametrize("size", [(4, 32), (5, 33), (97, 65)])
def test_any_depth_size_gives_a_mask_of_the_frames_size(size):
    assert hole_mask(golden_network(), golden_depth("sines", *size), 4, 0.5, None, (50, 70)).shape == (1, 1, 50, 70)


def test_a_warp_by_0_is_the_image():
    image = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    still, half = torch.zeros(2, 2, 20, 30), torch.full((2, 2, 20, 30), 0.5)
    torch.testing.assert_close(warp(image, still, half), image, rtol=0, atol=1e-5)


def test_a_displacement_is_a_shift_in_pixels_of_half_the_grid():
    image = torch.rand(1, 1, 6, 31, generator=torch.Generator().manual_seed(0))
    shift = torch.full((1, 2, 6, 31), 14 / 15)  # 31 // 2 - 1 = 14 units are 15 pixels
    moved = warp(image, shift, torch.full_like(shift, 0.5))
    torch.testing.assert_close(moved[..., :-1], image[..., 1:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [FILE_NAME, NAME])
def test_a_file_of_iw3_gives_its_network_in_eval_mode(tmp_path, name):
    net = load_mask_network(write_network(tmp_path / "mlbw.pth", name=name))
    assert not net.training
    expected = golden_network().state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in net.state_dict().items())


WRONG = {
    "another network": {"name": "inpaint.light_video_inpaint_v1"},
    "another learned warp": {"kwargs": KWARGS | {"hole_mask": False}},
    "no weights": {"state_dict": None},
    "other weights": {"state_dict": {"patch.weight": torch.zeros(3)}},
    "weights that are not finite": {
        "state_dict": {
            name: weight / 0 if weight.is_floating_point() else weight
            for name, weight in MaskMLBW().state_dict().items()
        }
    },
    "weights that are no tensors": {"state_dict": dict.fromkeys(MaskMLBW().state_dict(), 1)},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
def test_a_file_of_something_else_is_a_one_line_error_that_names_it(tmp_path, changes):
    path = write_network(tmp_path / "mlbw.pth", **changes)
    with pytest.raises(ValueError, match=NAME) as error:
        load_mask_network(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
def test_a_damaged_file_is_a_one_line_error_that_names_it(tmp_path, damage):
    path = write_network(tmp_path / "mlbw.pth")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"cut": data[: len(data) // 2], "flipped": data, "text": b"not a network\n"}[damage])
    with pytest.raises(ValueError, match=str(path)) as error:
        load_mask_network(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_mask_network(tmp_path / "none.pth")
