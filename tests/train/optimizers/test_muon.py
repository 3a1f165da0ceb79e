import pytest
import torch
from torch import nn

from model.light_video_inpaint import LightVideoInpaint
from train.optimizers.muon import MuonAdamW, orthogonalised
from train.optimizers.optim import create_optimizer, muon_groups

RATE, DECAY = 1e-2, 0.1


def pair(make):
    """Two layers with the same random weights."""
    ours, theirs = make(), make()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def step_both(ours, theirs, optimizer, reference, steps=5):
    gen = torch.Generator().manual_seed(0)
    for _ in range(steps):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.grad = torch.randn(a.shape, generator=gen)
            b.grad = a.grad.clone()
        optimizer.step()
        reference.step()


@pytest.mark.parametrize("rows, columns", [(24, 8), (8, 24), (16, 16)])
def test_a_matrix_is_stepped_as_by_torchs_muon(rows, columns):
    ours, theirs = pair(lambda: nn.Linear(columns, rows, bias=False))
    before = ours.weight.detach().clone()
    optimizer = MuonAdamW([{"params": [ours.weight], "muon": True, "weight_decay": DECAY}], RATE)
    reference = torch.optim.Muon([theirs.weight], RATE, DECAY, adjust_lr_fn="match_rms_adamw")
    step_both(ours, theirs, optimizer, reference)
    moved = theirs.weight - before
    assert (ours.weight - theirs.weight).norm() < 0.02 * moved.norm()  # torch iterates in bf16


def test_a_kernel_is_stepped_as_the_matrix_of_its_output_channels():
    kernel, matrix = nn.Conv2d(3, 8, 2, bias=False), nn.Linear(12, 8, bias=False)
    with torch.no_grad():
        matrix.weight.copy_(kernel.weight.flatten(1))
    optimizers = [MuonAdamW([{"params": [layer.weight], "muon": True}], RATE) for layer in (kernel, matrix)]
    kernel.weight.grad = torch.randn(8, 3, 2, 2)
    matrix.weight.grad = kernel.weight.grad.flatten(1).clone()
    for optimizer in optimizers:
        optimizer.step()
    assert torch.equal(kernel.weight.flatten(1), matrix.weight)


def test_the_other_parameters_are_stepped_as_by_torchs_adamw():
    ours, theirs = pair(lambda: nn.LayerNorm(6))
    optimizer = MuonAdamW([{"params": list(ours.parameters()), "weight_decay": DECAY}], RATE)
    step_both(ours, theirs, optimizer, torch.optim.AdamW(theirs.parameters(), RATE, weight_decay=DECAY))
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_orthogonalised_matrices_keep_their_singular_vectors_and_have_singular_values_near_1():
    matrices = torch.randn(3, 10, 6)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    values = u.mT @ orthogonalised(matrices) @ v.mT  # (3 6 6)
    diagonal = values.diagonal(dim1=1, dim2=2)
    assert diagonal.min() > 0.5 and diagonal.max() < 1.3
    assert (values - torch.diag_embed(diagonal)).abs().max() < 1e-4


def test_muon_steps_all_matrices_of_the_network_but_those_at_pixels():
    network = LightVideoInpaint()
    by_muon, spared, by_adam = muon_groups(network, DECAY)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert [names[id(weight)] for weight in by_adam["params"]] == ["patch.weight", "to_image.weight"]
    assert len(by_muon["params"]) == 37 and len(spared["params"]) == 54
    optimizer = create_optimizer("muon", network, RATE, DECAY)
    assert [group["muon"] for group in optimizer.param_groups] == [True, False, False]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [DECAY, 0, DECAY]
