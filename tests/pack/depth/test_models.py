"""Depth models are found by name or folder, get the input that iw3 gives them, and return nearness."""

import json
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file

from pack.depth.model_files import MODEL_IDS, find_model
from pack.depth.models import DepthAnything, DepthPro, ZoeDepth, load_depth, normalise, resize
from pack.depth.motion import MotionDepth
from tests.support import ROOT

DINO = {"model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def shake(network):  # fresh networks answer almost the same everywhere
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return network.eval()


def tiny_anything(folder, kind="relative"):
    backbone = transformers.Dinov2Config(
        image_size=56, patch_size=14, hidden_size=16, num_hidden_layers=4, num_attention_heads=2,
        out_indices=[1, 2, 3, 4], reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, neck_hidden_sizes=[8] * 4, fusion_hidden_size=8,
        head_hidden_size=4, depth_estimation_type=kind, max_depth=20 if kind == "metric" else 1,
    )  # fmt: skip
    return save(shake(transformers.DepthAnythingForDepthEstimation(config)), folder)


def tiny_zoe(folder):
    backbone = transformers.BeitConfig(
        image_size=64, patch_size=16, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=24,
        out_indices=[1, 2, 3, 4], reshape_hidden_states=False, use_relative_position_bias=True,
    )  # fmt: skip
    config = transformers.ZoeDepthConfig(
        backbone_config=backbone, neck_hidden_sizes=[8] * 4, fusion_hidden_size=8, num_relative_features=4,
        bottleneck_features=8, num_attractors=[4, 2, 1, 1], bin_embedding_dim=4,
        bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0}],
    )  # fmt: skip
    return save(shake(transformers.ZoeDepthForDepthEstimation(config)), folder)


def tiny_pro(folder):
    vision = {f"{part}_model_config": DINO | {"image_size": 32, "patch_size": 8} for part in ("image", "patch", "fov")}
    config = transformers.DepthProConfig(
        patch_size=32, fusion_hidden_size=8, intermediate_hook_ids=[1, 0], intermediate_feature_dims=[8, 8],
        scaled_images_feature_dims=[8, 8, 8], use_fov_model=True, num_fov_head_layers=0, **vision,
    )  # fmt: skip
    return save(shake(transformers.DepthProForDepthEstimation(config)), folder)


def save(network, folder):
    network.save_pretrained(folder)
    return network


def picture(count, height, width):  # smooth, so that all methods of resizing agree
    y, x = torch.linspace(0, 1, height).view(-1, 1), torch.linspace(0, 1, width)
    return torch.stack([torch.stack((x + 0 * y, y + 0 * x, (x * y + t / 9) % 1)) for t in range(count)])


@torch.inference_mode()
def answer(network, pixel_values):
    return network(pixel_values=pixel_values).predicted_depth[:, None]


@pytest.mark.slow
def test_relative_depth_is_the_networks_disparity_of_the_frames_that_transformers_prepares(tmp_path):
    network, frames = tiny_anything(tmp_path), picture(3, 784, 1372)
    model = load_depth(str(tmp_path))
    prepare = transformers.DPTImageProcessor(
        size={"height": 392, "width": 392}, keep_aspect_ratio=True, ensure_multiple_of=14, resample=2,
        do_rescale=False, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
    )  # fmt: skip
    pixel_values = prepare(list(frames), return_tensors="pt")["pixel_values"]
    depth = model(frames)
    assert not model.metric
    assert depth.shape == (3, 1, 392, 686)
    assert depth.std() > 0
    torch.testing.assert_close(depth, answer(network, pixel_values), rtol=1e-4, atol=1e-4 * float(depth.max()))


def test_metric_depth_is_negated_metres(tmp_path):
    network, frames = tiny_anything(tmp_path, "metric"), picture(2, 56, 56)
    model = load_depth(str(tmp_path), resolution=56)
    depth = model(frames)
    assert model.metric
    assert depth.max() < 0
    torch.testing.assert_close(-depth, answer(network, model.family.prepare(frames)))


def test_zoedepth_is_metric_and_its_margin_is_cut_off(tmp_path):
    network, frames = tiny_zoe(tmp_path), picture(2, 100, 160)
    model = load_depth(str(tmp_path))
    depth, whole = model(frames), answer(network, model.family.prepare(frames))
    top, left = (whole.shape[-2] - depth.shape[-2]) // 2, (whole.shape[-1] - depth.shape[-1]) // 2
    assert model.metric
    assert top > 0 < left
    assert torch.equal(-depth, whole[..., top:-top, left:-left])


def test_depthpro_gives_the_inverse_depth_of_a_square_at_no_more_than_the_frames_size(tmp_path):
    network, frames = tiny_pro(tmp_path), picture(2, 60, 400)
    model = load_depth(str(tmp_path))
    depth = model(frames)
    assert not model.metric
    assert depth.shape == (2, 1, 60, 256)
    pixel_values = (F.interpolate(frames, (128, 128), mode="bilinear", antialias=True) - 0.5) / 0.5
    torch.testing.assert_close(depth, resize(answer(network, pixel_values), (60, 256)))


def test_depth_does_not_depend_on_the_batch_size(tmp_path):
    tiny_anything(tmp_path)
    frames = picture(5, 56, 70)
    one, all_at_once = (load_depth(str(tmp_path), 56, batch_size=n)(frames) for n in (1, 16))
    torch.testing.assert_close(one, all_at_once)


@pytest.mark.parametrize(
    ("size", "resolution", "expected"),
    [
        ((720, 1280), None, (392, 686)),
        ((1280, 720), None, (686, 392)),
        ((720, 1280), 500, (504, 896)),
        ((100, 1000), None, (392, 1568)),
        ((393, 393), None, (392, 392)),
    ],
)
def test_depth_anything_sees_a_fixed_short_side_in_whole_patches(size, resolution, expected, tmp_path):
    assert DepthAnything(tiny_anything(tmp_path), resolution).size(*size) == expected


@pytest.mark.parametrize(
    ("size", "resolution", "expected"),
    [
        ((720, 1280), None, (384, 672)),
        ((1280, 720), None, (512, 288)),
        ((720, 1280), 400, (416, 736)),
        ((300, 500), None, (288, 480)),
    ],
)
def test_zoedepth_sees_multiples_of_32_and_nothing_enlarged(size, resolution, expected):
    assert ZoeDepth(None, resolution).size(*size) == expected


@pytest.mark.parametrize("size", [(300, 500), (500, 300), (64, 64)])
def test_depth_is_aligned_with_the_frame(size):
    """prepare() and finish() of each family, around a network that returns its input."""
    frames = picture(1, *size)
    config = transformers.DepthProConfig()
    anything = transformers.DepthAnythingConfig()
    for family in (
        DepthAnything(type("Network", (), {"config": anything}), 98),
        ZoeDepth(None, None),
        DepthPro(type("Network", (), {"config": config}), None),
    ):
        seen = family.prepare(frames)[:, :2]  # its channels are x and y
        seen = family.finish(seen, size)
        seen = (seen - seen.amin((2, 3), True)) / (seen.amax((2, 3), True) - seen.amin((2, 3), True))
        expected = picture(1, *seen.shape[-2:])[:, :2]
        torch.testing.assert_close(seen, expected, rtol=0, atol=0.02)


def test_normalised_depth_has_one_scale_for_the_whole_clip():
    raw = torch.tensor([[-4.0, -3.0], [-2.0, 0.0]]).view(2, 1, 1, 2)
    assert normalise(raw).flatten().tolist() == [0, 0.25, 0.5, 1]


@pytest.mark.parametrize(("value", "expected"), [(0.3, 0.3), (-2.0, 0.0), (7.0, 1.0)])
def test_a_constant_depth_is_only_clamped(value, expected):
    assert normalise(torch.full((2, 1, 3, 3), value)).unique().tolist() == [pytest.approx(expected)]


def test_depth_that_is_not_finite_is_an_error():
    with pytest.raises(ValueError, match="not finite"):
        normalise(torch.tensor([0.0, torch.nan]).view(1, 1, 1, 2))


def test_the_default_model_needs_no_file():
    model = load_depth("Motion", resolution=64)
    assert isinstance(model, MotionDepth)
    assert (model.name, model.metric) == ("Motion", False)
    assert model(picture(2, 90, 160)).shape == (2, 1, 64, 114)


def test_characters_that_a_key_cannot_hold_become_underscores(tmp_path):
    tiny_anything(tmp_path / "my model.v2")
    assert load_depth(str(tmp_path / "my model.v2")).name == "my_model_v2"


def test_a_model_in_the_hugging_face_cache_needs_no_network(tmp_path, monkeypatch):
    cache = tmp_path / ("models--" + MODEL_IDS["Any_S"].replace("/", "--"))
    tiny_anything(cache / "snapshots" / "0123abcd")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123abcd")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert load_depth("Any_S").name == "Any_S"


@pytest.mark.slow
def test_weights_that_cannot_be_downloaded_are_one_line_that_names_them(tmp_path):
    code = "from pack.depth.models import load_depth\nfrom tools.cli import run\nrun(lambda: load_depth('Any_V2_S'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": "."},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert MODEL_IDS["Any_V2_S"] in done.stderr
    assert "*.safetensors" in done.stderr


def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match="make setup EXTRAS=depth"):
        load_depth("Any_S")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("ZoeD_Any_N", "Any_V2_N"),
        ("ZoeD_Any_K", "Any_V2_K"),
        ("Any_V3_Mono_01", "Any_V2_L"),
        ("VDA_B", "Any_V2_B"),
        ("VDA_Stream_L", "Any_V2_L"),
        ("VDA_Metric", "Any_V2_K"),
        ("VDA_Stream_Metric_S", "Any_V2_K"),
        ("DepthPro_S", "DepthPro"),
    ],
)
def test_a_model_that_transformers_lacks_is_refused_with_a_substitute(name, nearest):
    assert nearest in MODEL_IDS
    with pytest.raises(ValueError, match=f"{name} is not available in transformers: pass {nearest} instead$"):
        load_depth(name)


def test_an_unknown_name_is_refused_with_all_names():
    with pytest.raises(
        ValueError, match=r"Any_X is neither .* did you mean Any_\w+\?.* one of Motion, Any_S, .*, DepthPro$"
    ):
        load_depth("Any_X")


def test_depthpro_refuses_another_resolution(tmp_path):
    tiny_pro(tmp_path)
    with pytest.raises(ValueError, match=r"--resolution 512: the size of .* is fixed"):
        load_depth(str(tmp_path), resolution=512)


def test_folders_without_a_complete_depth_model_are_refused_with_the_reason(tmp_path):
    with pytest.raises(ValueError, match=r"no depth model: config\.json, "):
        find_model(str(tmp_path))

    tiny_anything(tmp_path)
    weights = tmp_path / "model.safetensors"
    tensors = load_file(weights)
    save_file({key: tensors[key] for key in sorted(tensors)[1:]}, weights, {"format": "pt"})
    with pytest.raises(ValueError, match=f"lack {min(tensors)}"):
        load_depth(str(tmp_path))

    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"the weights in .* cannot be read"):
        load_depth(str(tmp_path))

    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "dpt"}))
    with pytest.raises(ValueError, match="holds a dpt: expected one of depth_anything, zoedepth, depth_pro"):
        load_depth(str(tmp_path))

    config.write_text("{")
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        load_depth(str(tmp_path))


def test_a_robust_range_does_not_follow_single_pixels():
    still = torch.linspace(0, 1, 64 * 64).view(1, 1, 64, 64).repeat(8, 1, 1, 1)
    shimmering = still.clone()
    for t in range(0, 8, 3):
        shimmering[t, 0, t, :4] = 3 + t
    robust = normalise(shimmering, "robust")
    assert (robust - still).abs()[shimmering == still].max() < 0.01
    assert (normalise(shimmering) - still).abs()[shimmering == still].max() > 0.5
    assert torch.equal(normalise(shimmering, "given"), shimmering.clamp(0, 1))
