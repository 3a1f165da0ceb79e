import importlib.util
import math
import socket
from urllib.error import URLError

import lpips as official
import numpy as np
import pytest
import torch

from tests.support.golden_formulas import feature, video, wave
from train.objectives import perceptual
from train.objectives.diff_aug import reflect_pad
from train.objectives.loss import clamp_l1, create_loss, temporal_gradient, temporal_smoothing
from train.objectives.perceptual import Perceptual, load_perceptual, lpips, lpips_in_holes, read_head, vgg16_trunk

GOLDEN = np.load("tests/golden/lpips_formula.npz")


@pytest.fixture(scope="module")
def network():
    """LPIPS whose convolution n is 1.4 sqrt(2 / fan in) times wave n, with biases .05 sin(.37 i + n)."""
    trunk = vgg16_trunk()
    convolutions = [layer for layer in trunk if isinstance(layer, torch.nn.Conv2d)]
    assert len(convolutions) == GOLDEN["n_conv_vgg"]
    with torch.no_grad():
        for n, conv in enumerate(convolutions):
            scale = 1.4 * math.sqrt(2 / conv.weight[0].numel())
            conv.weight.copy_(scale * wave(conv.weight.numel(), n).view(conv.weight.shape))
            conv.bias.copy_(0.05 * torch.sin(0.37 * torch.arange(len(conv.bias)).double() + n))
    return Perceptual(trunk, read_head())


@pytest.fixture(scope="module")
def pair():
    return video(12, 72, 72) + 0.3 * feature(12, 3, 72, 72, a=0.53), video(13, 72, 72)[1:]


def padded(pair):  # 72 to the next multiple of 16
    return tuple(reflect_pad(x, (4, 4, 4, 4)) for x in pair)


def tiny():
    torch.manual_seed(0)
    widths = (4, 4, 8, 8, 8)
    return Perceptual(vgg16_trunk(widths), [torch.rand(w) for w in widths])


@pytest.mark.slow
def test_each_layer_is_that_of_the_lpips_package_on_the_same_trunk(network, pair):
    output, target = padded(pair)
    theirs = official.LPIPS(net="vgg", pnet_rand=True, verbose=False)
    ours = dict(network.trunk.named_parameters())
    with torch.no_grad():
        for name, parameter in theirs.net.named_parameters():  # "slice2.5.weight" is our "5.weight"
            parameter.copy_(ours[name.split(".", 1)[1]])
        whole, layers = theirs(output, target, retPerLayer=True, normalize=True)
        maps = network(output, target)
    for found, wanted in zip(maps, layers, strict=True):
        torch.testing.assert_close(found.mean(dim=(1, 2, 3)), wanted.flatten(), rtol=1e-4, atol=0)
    assert lpips(maps).item() == pytest.approx(whole.mean().item(), rel=1e-5)


def test_layers_equal_those_of_iw3_whose_head_is_half_of_ours(network, pair):
    # iw3's head is the mean of the official one and another of its own, so it has at least half of ours in it
    with torch.no_grad():
        layers = torch.stack([m.mean(dim=(1, 2, 3)) for m in network(*padded(pair))]).numpy()
    ratio = layers / GOLDEN["lpips_vgg_head2_per_layer"]
    assert (ratio < 2).all()
    assert (ratio.std(axis=1) / ratio.mean(axis=1) < 0.01).all()


def test_the_other_terms_see_the_padded_frames_as_in_iw3(pair):
    output, target = padded(pair)
    base = 0.8 * clamp_l1(output, target) + 0.2 * temporal_gradient(output, target)
    assert (base + 0.01 * temporal_smoothing(output, axis=1)).item() == pytest.approx(
        GOLDEN["base_on_padded"], rel=1e-5
    )
    no_holes = torch.zeros(12, 1, 72, 72, dtype=torch.bool)
    terms = create_loss("temporal_l1lpips", perceptual=tiny())(*pair, no_holes)
    assert (terms["l1"] + terms["temporal_gradient"]).item() == pytest.approx(base.item(), rel=1e-6)


def test_equal_images_have_no_distance_and_a_finite_gradient():
    image = torch.rand(2, 3, 32, 32, requires_grad=True)
    distance = lpips(tiny()(image, image.detach()))
    distance.backward()
    assert distance.item() == 0
    assert image.grad.isfinite().all()


def test_the_target_and_the_network_get_no_gradient():
    net = tiny()
    output, target = torch.rand(2, 3, 32, 32, requires_grad=True), torch.rand(2, 3, 32, 32, requires_grad=True)
    lpips(net(output, target)).backward()
    assert output.grad.abs().sum() > 0
    assert target.grad is None
    assert all(p.grad is None for p in net.parameters())


def test_under_autocast_only_the_trunk_is_in_low_precision():
    output, target = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    net = tiny()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert net.features(output)[0].dtype == torch.bfloat16
        maps = net(output, target)
    assert {m.dtype for m in maps} == {torch.float32}
    assert lpips(maps).item() == pytest.approx(lpips(net(output, target)).item(), rel=0.05)


def test_distance_in_holes_is_that_of_their_cells():
    maps = [torch.rand(2, 1, size, size) for size in (32, 16, 8, 4, 2)]
    everywhere = torch.ones(2, 1, 32, 32, dtype=torch.bool)
    assert lpips_in_holes(maps, everywhere).item() == pytest.approx(lpips(maps).item(), rel=1e-6)
    corner = torch.zeros_like(everywhere)
    corner[0, 0, :16, :16] = True
    wanted = sum(m[0, 0, : len(m[0, 0]) // 2, : len(m[0, 0]) // 2].mean() for m in maps)
    assert lpips_in_holes(maps, corner).item() == pytest.approx(wanted.item(), rel=1e-6)
    assert lpips_in_holes(maps, torch.zeros_like(everywhere)).item() == 0


def test_a_torchvision_file_in_the_folder_is_used(tmp_path):
    trunk = vgg16_trunk()
    state = {f"features.{k}": v for k, v in trunk.state_dict().items()} | {"classifier.0.bias": torch.zeros(4)}
    torch.save(state, tmp_path / perceptual.TRUNK_FILE)
    loaded = load_perceptual(tmp_path)
    assert all(torch.equal(loaded.trunk.state_dict()[k], v) for k, v in trunk.state_dict().items())


def test_trunk_has_the_layers_of_torchvision():
    from torchvision.models.vgg import cfgs, make_layers

    theirs = make_layers(cfgs["D"])[:-1]
    assert [repr(layer) for layer in vgg16_trunk()] == [repr(layer) for layer in theirs]


@pytest.mark.parametrize("content", [b"", b"not a weight file", "other keys"])
def test_a_file_that_is_no_vgg16_is_named_in_one_line(tmp_path, content):
    path = tmp_path / perceptual.TRUNK_FILE
    if content == "other keys":
        torch.save({"features.0.weight": torch.zeros(3)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=perceptual.TRUNK_FILE) as error:
        load_perceptual(tmp_path)
    assert "\n" not in str(error.value)


def test_without_a_connection_the_error_says_which_file_to_place_where(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def fail(*_, **__):
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(ValueError, match=r"place .*vgg16-397923af.pth at .* or train with --loss temporal_l1") as error:
        load_perceptual()
    assert str(tmp_path / "checkpoints" / perceptual.TRUNK_FILE) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_server_that_never_answers_times_out(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(perceptual, "TRUNK_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/vgg16-397923af.pth")
        monkeypatch.setattr(perceptual, "DOWNLOAD_SECONDS", 0.2)
        with pytest.raises(ValueError, match="cannot download"):
            load_perceptual(tmp_path)
    assert socket.getdefaulttimeout() is None
    assert list(tmp_path.iterdir()) == []


def test_a_missing_lpips_package_is_reported(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="pip install lpips"):
        read_head()
