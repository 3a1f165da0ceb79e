"""The network against numbers from the original code on formula weights and inputs, and what it promises besides."""

import pytest
import torch
import torch.nn.functional as F

from model.light_video_inpaint import NAMES, LightVideoInpaint, plan_passes
from tests.support.golden_formulas import feature, video
from tests.support.training.reference import (
    filled,
    golden,
    inputs,
    keys_of_the_original,
    near,
    near_stats,
    network,
    video_mask,
    weakly_filled,
)
from tools.benches.plain_network import PlainNetwork


@pytest.fixture(scope="module")
def traced():
    """By name, what every module took and gave on the way to an uncropped eval result on 12 frames of 128x128."""
    net, seen = network(), {}
    for name, module in net.named_modules():
        module.register_forward_hook(lambda _, args, out, name=name: seen.__setitem__(name, (args[0], out)))
    with torch.no_grad():
        net(*inputs(net, 12, 128, 128), skip_offset=True)
    return seen


@pytest.mark.parametrize(
    ("file", "weights", "name", "size"),
    [
        ("model_A_128", weakly_filled, "inpaint.light_video_inpaint_v1", 128),
        ("model_B_128", filled, "inpaint.light_video_inpaint_v1", 128),
        ("model_B_medium", filled, "inpaint.light_video_inpaint_v1_medium", 96),
    ],
)
def test_preprocess_and_forward_equal_the_original(file, weights, name, size):
    expected, raw = golden(file), []
    net = weights(LightVideoInpaint(**NAMES[name])).train()
    net.to_image.register_forward_hook(lambda *args: raw.append(F.pixel_shuffle(args[-1], 4)))
    x, mask = inputs(net, 12, size, size)
    with torch.no_grad():
        full = net(x, mask, skip_offset=True)
    train = full[..., 16:-16, 16:-16]
    found = {"pre_x": x, "pre_mask": mask, "raw": raw[0], "train": train}
    found |= {"eval_full": full.clamp(0, 1), "eval": train.clamp(0, 1)}
    for key, out in found.items():
        step = 8 if key == "raw" else 4
        near(out[..., ::step, ::step], expected[f"{key}_s"])
        near_stats(out, expected[f"stats_{key}"])
    near(mask[5], expected["pre_mask_f5"])
    assert raw[0].shape == tuple(expected["shape_raw"])


def test_eval_mode_crops_and_clamps_as_the_original():
    net, expected = network().eval(), golden("model_B_128")
    with torch.no_grad():
        out = net(*inputs(net, 12, 128, 128))
    near(out[..., ::4, ::4], expected["eval_s"])
    near(out[0, :, :48], expected["eval_f0_top48"])


def test_every_intermediate_equals_the_original(traced):
    seen, expected = traced, golden("model_B_inter")
    near(F.leaky_relu(seen["patch"][1], 0.1)[::5, ::12, ::5, ::5], expected["patch"])
    for name in (key for key in expected if key in seen and key != "patch"):
        found = seen[name][1]
        step = 5 if found.shape[-1] > 24 else 3
        near(found[::5, ::16, ::step, ::step], expected[name], atol=2e-5 * max(1, found.abs().max()))
        near_stats(found, expected[f"stats_{name}"])
        assert found.shape == tuple(expected[f"shape_{name}"])


def test_exactly_the_tokens_that_touch_a_hole_become_the_mask_bias(traced):
    hidden = (traced["enc1"][0] == network().mask_bias).all(dim=1)
    assert torch.equal(hidden, golden("model_B_inter")["token_mask"].bool())


@pytest.mark.parametrize(
    ("frames", "options", "key"),
    [
        (1, {}, "infer1"),
        (7, {}, "infer7"),
        (7, {"closing": True, "inner_dilation": 2, "outer_dilation": 5, "base_width": 64}, "infer7_dil"),
    ],
)
def test_infer_equals_the_original(frames, options, key):
    expected = golden("model_B_infer")
    out = network().infer(video(frames, 96, 128), video_mask(frames, 96, 128), **options)
    near(out[..., ::4, ::4], expected[f"{key}_s"])
    near_stats(out, expected[f"{key}_stats"])


def test_clips_of_12_and_fewer_frames_equal_the_original():
    net, expected = network(), golden("model_B_infer")
    frames, mask = video(17, 96, 128), video_mask(17, 96, 128)
    parts = [net.infer(frames[:12], mask[:12]), net.infer(frames[12:], mask[12:])]
    near(parts[0][..., ::4, ::4], expected["infer12_s"])
    near(torch.cat(parts)[..., ::4, ::4], expected["infer17_chunk12_s"])


def queue_of_the_player(count, leading=3, trailing=3):
    """iw3's 12-frame queue, step by step: per pass the frame numbers in the queue and those that come out."""
    queue, passes = [], []
    for t in range(count):
        queue += [t] * (leading + 1 if t == 0 else 1)
        if len(queue) == 12:
            passes.append((list(queue), queue[leading : 12 - trailing]))
            del queue[: 12 - leading - trailing]
    filler = 12 - len(queue)
    full = queue + [count - 1] * filler
    return [*passes, (full, full[leading : 12 - filler])]


@pytest.mark.parametrize("overlap", [(3, 3), (3, 0), (0, 0), (1, 4), (0, 11), (11, 0)], ids=str)
@pytest.mark.parametrize("count", range(13, 40))
def test_more_than_12_frames_are_split_into_passes_as_in_iw3(count, overlap):
    passes = [(frames, frames[keep]) for frames, keep in plan_passes(count, overlap)]
    assert passes == [one for one in queue_of_the_player(count, *overlap) if one[1]]


@pytest.mark.parametrize("overlap", [(3, 3), (3, 0), (0, 3)], ids=str)
@pytest.mark.parametrize("count", [1, 2, 11, 12, 13, 14, 15, 16, 17, 18, 100])
def test_every_frame_is_in_the_result_once_and_in_order(count, overlap):
    assert [t for frames, keep in plan_passes(count, overlap) for t in frames[keep]] == list(range(count))


def test_infer_without_trailing_context_keeps_the_end_of_each_pass():
    net = LightVideoInpaint(base_dim=8, generator=torch.Generator().manual_seed(0)).eval()
    frames, mask = video(21, 40, 72), video_mask(21, 40, 72)
    x, soft = net.preprocess(frames, mask)
    out = net.infer(frames, mask, overlap=(3, 0))
    with torch.no_grad():
        end = net(x[6:18], soft[6:18], skip_offset=True)[3:12]
    near(out[9:18], end, atol=1e-6)


def test_infer_of_many_frames_is_the_middle_of_overlapping_passes():
    net = LightVideoInpaint(base_dim=8, generator=torch.Generator().manual_seed(0)).eval()
    frames, mask = video(17, 40, 72), video_mask(17, 40, 72)
    x, soft = net.preprocess(frames, mask)
    out = net.infer(frames, mask)
    with torch.no_grad():
        middle = net(x[3:15], soft[3:15], skip_offset=True)[3:9]
    assert out.shape == frames.shape
    near(out[6:12], middle, atol=1e-6)


@pytest.mark.parametrize("frames", [range(2, 14), range(9, 10), range(17)], ids=str)
@pytest.mark.parametrize("overlap", [(3, 3), (3, 0)], ids=str)
def test_a_part_of_a_clip_is_that_part_of_all_of_it(frames, overlap):
    net = filled(LightVideoInpaint(base_dim=8)).eval()
    x, mask = video(17, 136, 72), video_mask(17, 136, 72)
    area = [slice(8, 50), slice(16, 56)]
    part = net.infer_part(*net.preprocess(x, mask), frames, area, overlap)
    near(part, net.infer(x, mask, overlap=overlap)[frames.start : frames.stop, :, *area], atol=1e-6)


def test_pixels_outside_of_the_soft_holes_are_unchanged():
    net = LightVideoInpaint(base_dim=8, init="iw3").eval()
    frames, mask = video(12, 40, 72), video_mask(12, 40, 72)
    kept = (net.preprocess(frames, mask)[1] == 0).expand_as(frames)
    assert kept.any() and torch.equal(net.infer(frames, mask)[kept], frames[kept])


@pytest.mark.parametrize("option", ["plain", "checkpoint_blocks", "frames_at_once"])
def test_each_sequence_of_a_pass_has_the_result_and_the_gradients_that_it_has_alone(option):
    net = filled(LightVideoInpaint(base_dim=8))
    net.checkpoint_blocks = option == "checkpoint_blocks"
    more = {"frames_at_once": 5} if option == "frames_at_once" else {}
    sequences = [inputs(net, 12, 40, 72), [part.flip(0, -1) for part in inputs(net, 12, 40, 72)]]

    def gradients(results):
        net.zero_grad()
        torch.cat(results).square().sum().backward()
        return [p.grad.clone() for p in net.parameters()]

    alone = [net(*sequence, **more) for sequence in sequences]
    expected = gradients(alone)
    stacked = net(*(torch.cat(parts) for parts in zip(*sequences, strict=True)), **more)
    for found, wanted in zip(stacked.split(12), alone, strict=True):
        near(found, wanted, atol=1e-6)
    for found, wanted in zip(gradients([stacked]), expected, strict=True):
        near(found, wanted, atol=1e-5 * wanted.abs().max())


def test_another_number_of_frames_is_refused_by_forward():
    with pytest.raises(ValueError, match="got 11 frames, expected a multiple of 12: use infer"):
        LightVideoInpaint(base_dim=8)(torch.zeros(11, 3, 64, 64), torch.zeros(11, 1, 64, 64))


@pytest.mark.parametrize("training", [False, True])
def test_only_eval_mode_clamps_and_the_outer_pixels_are_cropped_unless_asked_for(training):
    net = LightVideoInpaint(base_dim=8, init="iw3").train(training)
    x, mask = inputs(net, 12, 70, 90)
    with torch.no_grad():
        out, full = net(x, mask), net(x, mask, skip_offset=True)
    assert torch.equal(out, full[..., 16:-16, 16:-16]) and full.shape == x.shape
    assert (out.max() > 1) == training


@pytest.mark.parametrize(("height", "width"), [(64, 136), (70, 64), (192, 40)])
def test_tokens_that_no_result_needs_are_not_computed_and_do_not_change_it(height, width):
    net, tokens = filled(LightVideoInpaint(base_dim=8)), []
    x, mask = inputs(net, 12, height, width)
    net.dec1.register_forward_hook(lambda _, args, out: tokens.append(out[0, 0].numel()))

    def run(whole):
        net.zero_grad()
        out = net(x, mask, skip_offset=whole)
        out = out[..., 16:-16, 16:-16] if whole else out
        (out * feature(*out.shape, a=0.17)).mean().backward()
        return [out.detach(), *(p.grad.clone() for p in net.parameters())]

    for a, b in zip(run(False), run(True), strict=True):
        near(a, b, atol=1e-5 * b.abs().max())
    assert tokens[0] < tokens[1]


@pytest.mark.parametrize("option", ["frames_at_once", "checkpoint_blocks"])
def test_options_that_save_memory_change_neither_outputs_nor_gradients(option):
    net = filled(LightVideoInpaint(base_dim=8))
    x, mask = inputs(net, 12, 40, 72)

    def run(**options):
        net.zero_grad()
        out = net(x, mask, **options)
        out.square().mean().backward()
        return [out.detach(), *(p.grad.clone() for p in net.parameters())]

    plain = run()
    if option == "checkpoint_blocks":
        net.checkpoint_blocks = True
    saving = run(**({"frames_at_once": 5} if option == "frames_at_once" else {}))
    for a, b in zip(plain, saving, strict=True):
        near(a, b, atol=1e-6)


def kept(net, x, mask):  # numbers that a forward pass keeps for the backward pass
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        net(x, mask)
    return sum(sizes)


def test_blocks_save_fewer_activations_than_autograd_and_checkpointed_ones_still_fewer():
    net, plain = LightVideoInpaint(base_dim=8), PlainNetwork(base_dim=8)
    data = inputs(net, 12, 40, 72)
    usual = kept(net, *data)
    assert usual < 0.6 * kept(plain, *data)
    net.checkpoint_blocks = True
    assert kept(net, *data) < usual / 3


@pytest.mark.slow
def test_gradients_equal_the_original():
    expected = golden("model_B_grads")
    keys = keys_of_the_original()
    net = network().train()
    loss = (net(*inputs(net, 12, 128, 128)) * feature(12, 3, 96, 96, a=0.17)).mean()
    loss.backward()
    near(loss, expected["loss"], atol=1e-8)
    grads = {name: p.grad for name, p in net.named_parameters()}
    assert sorted(grads) == keys
    norms = torch.stack([grads[k].double().norm() for k in keys])
    torch.testing.assert_close(norms, expected["grad_norm"], rtol=1e-4, atol=0)
    sums = torch.stack([grads[k].double().sum() for k in keys])
    assert ((sums - expected["grad_sum"]).abs() <= 1e-4 * norms).all()
    for key in (k for k in expected if k.startswith("g:")):
        grad = grads[key[2:]]
        near(grad, expected[key], atol=1e-4 * expected[key].abs().max())


def decay_groups(net):
    """iw3's groups for AdamW: weights of linear layers and convolutions decay, everything else does not."""
    layers = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d)
    decaying = {f"{name}.weight" for name, module in net.named_modules() if isinstance(module, layers)}
    params = dict(sorted(net.named_parameters()))
    assert len(decaying) == 39 and len(params) == 93
    return [
        {"params": [p for name, p in params.items() if name in decaying], "weight_decay": 0.001},
        {"params": [p for name, p in params.items() if name not in decaying], "weight_decay": 0},
    ]


def loss_of_the_original(z, y):
    clamped = F.l1_loss(z.clamp(0, 1), y.clamp(0, 1)) + 0.001 * F.l1_loss(z, y)
    change = F.l1_loss(z[:-1] - z[1:], y[:-1] - y[1:])
    colour = (z[:, 2:] - 2 * z[:, 1:-1] + z[:, :-2]).square().mean()  # meant for time, but it runs over channels
    return 0.8 * clamped + 0.2 * change + 0.01 * colour


@pytest.mark.slow
def test_three_training_steps_end_where_the_original_does():
    expected = golden("train3steps_B")
    net = network().train()
    optimizer = torch.optim.AdamW(decay_groups(net), lr=1e-4)
    losses = []
    for s in range(3):
        frames = video(12 + s, 128, 128)[s:]
        out = net(*net.preprocess(frames, video_mask(12 + s, 128, 128)[s:]))
        loss = loss_of_the_original(out, frames[..., 16:-16, 16:-16])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    near(torch.stack(losses), expected["losses"], atol=1e-7)
    params = [p.detach().double() for _, p in sorted(net.named_parameters())]
    near(torch.stack([p.norm() for p in params]), expected["param_norm"].double(), atol=1e-5)
    near(torch.stack([p.sum() for p in params]), expected["param_sum"].double(), atol=1e-3)
    near(net.mask_bias, expected["mask_bias"], atol=1e-6)
    near(net.to_image.bias, expected["to_image_bias"], atol=1e-6)


@pytest.mark.parametrize(("name", "count"), [*zip(NAMES, (2_311_528, 4_580_392, 10_103_848), strict=True)])
def test_variants_have_the_weights_of_the_original(name, count):
    net = LightVideoInpaint(**NAMES[name])
    c, ratio = net.kwargs["base_dim"], net.kwargs["lv2_mlp_ratio"]
    shapes = {key: tuple(v.shape) for key, v in net.state_dict().items()}
    assert sum(p.numel() for p in net.parameters()) == count
    assert sorted(shapes) == keys_of_the_original()
    assert {key: v for key, v in shapes.items() if key.startswith("enc2.0.")} == {
        "enc2.0.gmlp.gmlp.proj_in.weight": (4 * c * ratio, 2 * c),
        "enc2.0.gmlp.gmlp.proj_in.bias": (4 * c * ratio,),
        "enc2.0.gmlp.gmlp.proj_spatial.weight": (64, 64, 1),
        "enc2.0.gmlp.gmlp.proj_spatial.bias": (64,),
        "enc2.0.gmlp.gmlp.proj_out.weight": (2 * c, 2 * c * ratio),
        "enc2.0.gmlp.gmlp.proj_out.bias": (2 * c,),
        "enc2.0.norm1.weight": (2 * c,),
        "enc2.0.norm2.weight": (2 * c * ratio,),
        "enc2.0.glu_conv.w1.weight": (2 * c, 2 * c, 1, 1),
        "enc2.0.glu_conv.w1.bias": (2 * c,),
        "enc2.0.glu_conv.w2.weight": (2 * c, c, 3, 3),
        "enc2.0.glu_conv.w2.bias": (2 * c,),
    }


def test_a_pass_in_bfloat16_gives_float32_frames_close_to_the_full_precision_ones():
    net = filled(LightVideoInpaint(base_dim=16)).eval()
    x, mask = inputs(net, 12, 48, 48)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = net(x, mask)
    with torch.no_grad():
        full = net(x, mask)
    assert half.dtype == torch.float32 and (half - full).abs().max() < 0.05
