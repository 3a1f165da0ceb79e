import numpy as np
import pytest
import torch

from model.discriminators import (
    DISCRIMINATORS,
    L3C,
    Ensemble,
    TemporalPatch,
    cells,
    create_discriminator,
    region_means,
    update_spectral_norms,
)
from tests.support.golden_formulas import fill, video

GOLDEN = np.load("tests/golden/discriminators_B.npz")
OF_IW3 = ("l3c", "ffc", "l3ce", "ffce", "l3cffce")


def formula_network(name):
    net = create_discriminator(name)
    fill(net.named_parameters())
    for key, buffer in net.named_buffers():
        if key.endswith(("._u", "._v")):
            wave = torch.cos(0.5 * torch.arange(len(buffer)).double())
            buffer.copy_(wave / wave.norm())
    return net


def two_holes():
    mask = torch.zeros(2, 1, 96, 96)
    mask[0, 0, 20:24, 60:64] = mask[1, 0, 70:90, 30:34] = 1
    return mask


def frames(count=2, size=96):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", OF_IW3)
def test_state_and_size_are_those_of_iw3(name):
    net = create_discriminator(name)
    found = sorted(f"{key} {tuple(tensor.shape)}" for key, tensor in net.state_dict().items())
    assert found == sorted(GOLDEN[f"{name}_keys"])
    assert sum(p.numel() for p in net.parameters()) == GOLDEN[f"{name}_n_params"]


@pytest.mark.parametrize("name", ["l3c", "ffc"])
def test_scores_and_cells_are_those_of_iw3(name):
    fake, real = video(2, 100, 100)[..., 2:-2, 2:-2], video(3, 96, 96)[1:]
    with torch.no_grad():
        score, found = formula_network(name)(fake, real, two_holes())
    wanted = GOLDEN[f"{name}_out"]
    np.testing.assert_allclose(score, wanted, rtol=0, atol=5e-6 * np.abs(wanted).max())
    np.testing.assert_array_equal(found.float(), GOLDEN[f"{name}_mask"])


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_score_and_cells_have_the_same_shape_and_the_mask_changes_no_score(name):
    net = create_discriminator(name)
    with torch.no_grad():
        score, found = net(frames(), frames(), two_holes() > 0)
        alone, nothing = net(frames(), frames())
    assert score.shape == found.shape and found.dtype == torch.bool and nothing is None
    assert torch.equal(score, alone)
    assert found.any() and not found.all()


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_the_seed_alone_decides_the_weights(name):
    def weights(seed):
        return torch.cat([t.flatten() for t in create_discriminator(name, seed).state_dict().values()])

    state = torch.get_rng_state()
    first = weights(3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.seed()
    assert torch.equal(first, weights(3))
    assert not torch.equal(first, weights(4))


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_gradient_reaches_frames_and_every_weight_of_the_member_that_scored(name):
    net = create_discriminator(name)
    judge = net.pick() if isinstance(net, Ensemble) else net
    x = frames().requires_grad_(True)
    net(x, frames())[0].square().mean().backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in judge.parameters())
    members = {id(p) for p in judge.parameters()}
    assert all(p.grad is None for p in net.parameters() if id(p) not in members)


@pytest.mark.parametrize(("name", "odds"), [("l3ce", (4, 2, 1)), ("ffce", (4, 2, 1)), ("l3cffce", (2, 1, 2, 1))])
def test_members_are_picked_by_their_odds_from_the_generator_alone(name, odds):
    net = create_discriminator(name)
    members = list(net.get_submodule(net.key))
    picks = [members.index(net.pick(torch.Generator().manual_seed(seed))) for seed in range(700)]
    assert picks[:50] == [members.index(net.pick(torch.Generator().manual_seed(seed))) for seed in range(50)]
    expected = 700 * np.array(odds) / sum(odds)
    np.testing.assert_allclose(np.bincount(picks, minlength=len(odds)), expected, atol=4 * expected.max() ** 0.5)


def test_scores_under_one_generator_come_from_one_member():
    net = create_discriminator("l3cffce")
    gen = torch.Generator().manual_seed(1)
    with torch.no_grad():
        first, again = (net(frames(), frames(), gen=gen)[0] for _ in range(2))
        alone = net.pick(gen)(frames(), frames())[0]
    assert torch.equal(first, again) and torch.equal(first, alone)


@pytest.mark.parametrize("create", [L3C, lambda: TemporalPatch(widths=(4, 8))], ids=["l3c", "t_patchgan"])
def test_spectral_norms_change_only_in_update_spectral_norms(create):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = create().eval()
    normed = next(m for m in net.modules() if hasattr(m, "parametrizations"))
    with torch.no_grad():
        normed.parametrizations.weight.original.mul_(3).add_(0.01)
        before = {key: value.clone() for key, value in net.state_dict().items()}
        net(frames(), frames())
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
        for _ in range(500):
            update_spectral_norms(net)
    assert torch.linalg.svdvals(normed.weight.flatten(1))[0].item() == pytest.approx(1, rel=1e-3)
    assert not any(m.training for m in net.modules())


def test_the_temporal_discriminators_scores_depend_on_neighbouring_frames():
    net = TemporalPatch(widths=(4, 8))
    x = frames(6, 64).requires_grad_(True)
    score, _ = net(x)
    assert score.shape == (6, 1, 8, 8)
    score[0].sum().backward()
    reached = x.grad.abs().amax(dim=(1, 2, 3)) > 0
    assert reached.tolist() == [True] * 4 + [False] * 2  # each of three layers sees one frame further


def test_iw3s_networks_score_each_frame_independently():
    for name in ("l3c", "ffc"):
        net = create_discriminator(name)
        with torch.no_grad():
            together = net(frames(), frames())[0]
            alone = torch.cat([net(x[None], x[None])[0] for x in frames()])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_autocast_changes_scores_only_by_rounding():
    for net in (create_discriminator("l3c"), create_discriminator("ffc"), TemporalPatch((4, 8)).eval()):
        with torch.no_grad():
            full = net(frames(), frames())[0]
            with torch.autocast("cpu", dtype=torch.bfloat16):
                half = net(frames(), frames())[0]
        assert (half.float() - full).abs().max() < 0.1 * full.abs().max() + 0.02


def test_cells_near_a_hole_are_those_within_the_dilation():
    mask = torch.zeros(1, 1, 224, 224)
    mask[..., 100, 100] = 0.01  # a blurred border counts
    found = cells(mask)[0, 0]  # 28 cells less 2 a side; cell 12 has the hole, 28 // 8 + 1 = 4 beside it count
    wanted = torch.zeros(24, 24, dtype=torch.bool)
    wanted[6:15, 6:15] = True
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("size", [(8, 8), (13, 18), (56, 55)])
def test_region_means_as_products_are_those_of_adaptive_pooling(size):
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    assert torch.allclose(region_means(x, 4), torch.nn.functional.adaptive_avg_pool2d(x, 4), atol=1e-12)
