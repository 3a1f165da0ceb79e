"""What a network holds before its first step."""

import pytest
import torch

from model.light_video_inpaint import NAMES, LightVideoInpaint
from tests.support.golden_formulas import video


def fresh(init, seed=0, **kwargs):
    return LightVideoInpaint(**kwargs, init=init, generator=torch.Generator().manual_seed(seed))


def test_iw3_initial_weights_have_the_distributions_of_the_original():
    net = fresh("iw3").requires_grad_(False)
    he = {net.patch: 96 * 16, net.enc2[1].glu_conv.w1: 192, net.enc2[1].glu_conv.w2: 192 * 9}
    for conv, fan_out in he.items():
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05) and not conv.bias.any()
    unit = net.enc2[1].gmlp.gmlp
    for linear in (unit.proj_in, unit.proj_out):
        assert linear.weight.std().item() == pytest.approx(0.02, rel=0.05) and not linear.bias.any()
    assert unit.proj_spatial.weight.abs().max() <= 1e-3 / 192
    assert unit.proj_spatial.weight.std().item() == pytest.approx(1e-3 / 192 / 3**0.5, rel=0.2)
    assert (unit.proj_spatial.bias == 1).all() and (net.enc2[1].norm2.weight == 1).all()
    for conv, fan_in in {net.down: 96 * 4, net.up: 192}.items():
        assert 0.99 * fan_in**-0.5 < conv.weight.abs().max() <= fan_in**-0.5
        assert conv.weight.std().item() == pytest.approx((3 * fan_in) ** -0.5, rel=0.05) and conv.bias.any()
    assert net.mask_bias.std().item() == pytest.approx(0.01, rel=0.2)
    colours = net.to_image.weight.view(3, 16, 96)
    assert torch.equal(colours, colours[:, :1].expand_as(colours)) and not net.to_image.bias.any()
    assert colours[:, 0].std().item() == pytest.approx((2 / 96) ** 0.5, rel=0.2)


def clean(frames, height, width):  # -> (T 3 H W), float (T 1 H W) with one square hole
    holes = torch.zeros(frames, 1, height, width)
    holes[..., 8:24, 8:24] = 1
    return video(frames, height, width) * (1 - holes), holes


def painted(net, frames, holes):  # what a network paints, before compositing
    seen = []
    net.to_image.register_forward_hook(lambda *args: seen.append(args[-1]))
    (net(frames, holes) - 0.3).square().mean().backward()
    height, width = frames.shape[-2:]
    return torch.nn.functional.pixel_shuffle(seen[0].detach(), 4)[..., :height, :width]


def psnr(found, expected, where):
    return -10 * (found - expected).square()[where.expand_as(found)].mean().log10()


def test_a_fresh_iw3_network_starts_far_outside_the_range_of_pixels():
    assert painted(fresh("iw3"), *clean(12, 64, 64)).std() > 20


@pytest.mark.slow
@pytest.mark.parametrize("kwargs", NAMES.values(), ids=NAMES)
def test_a_fresh_network_copies_visible_pixels_fills_holes_with_grey_and_every_weight_gets_gradient(kwargs):
    net = fresh("copy", **kwargs)
    frames, holes = clean(12, 64, 64)
    first = painted(net, frames, holes)
    far = torch.nn.functional.max_pool2d(holes, 17, 1, 8) == 0  # from holes, whose grey comes over by convolution
    assert psnr(first, frames, far) > 18
    assert (first - 0.5).abs()[holes.bool().expand_as(first)].mean() < 0.1
    assert all(p.grad.isfinite().all() and p.grad.any() for p in net.parameters())


def test_without_the_gated_convolutions_the_last_layer_is_the_inverse_of_the_first():
    net = fresh("copy")
    frames, _ = clean(12, 64, 64)
    tokens = torch.nn.functional.leaky_relu(net.patch(2 * frames - 1), 0.1)
    back = torch.nn.functional.pixel_shuffle(net.to_image(4 * tokens), 4)  # two blocks double them
    assert torch.allclose(back, frames, atol=1e-6)


def test_a_small_network_copies_low_frequencies():
    frames, holes = clean(12, 64, 64)
    blurred = torch.nn.functional.avg_pool2d(frames, 4).repeat_interleave(4, -1).repeat_interleave(4, -2)
    first = painted(fresh("copy", base_dim=32), blurred, 0 * holes)
    assert psnr(first, blurred, holes >= 0) > 15


@pytest.mark.parametrize("init", ["iw3", "copy"])
def test_initial_weights_depend_on_the_generator_alone(init):
    before = torch.get_rng_state()
    first, again, other = (fresh(init, seed, base_dim=8).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(v, again[key]) for key, v in first.items())
    assert not torch.equal(first["down.weight"], other["down.weight"])
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_init_is_refused():
    with pytest.raises(ValueError, match='init is \'zero\', expected "copy" or "iw3"'):
        LightVideoInpaint(base_dim=8, init="zero")
