import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from tests.support import GOLDEN as GOLDEN_FOLDER
from train.config import run_length
from train.optimizers.schedule import Rates, apply, schedule

GOLDEN = np.load(GOLDEN_FOLDER / "schedule_sampler.npz")
RECIPE = {"max_epoch": 200, "learning_rate": 1e-4, "weight_decay": 1e-3}
EPOCHS = range(1, 200)


def same(values, golden):  # equal but for the last bit of another machine's cosine
    return np.allclose(values, golden, rtol=1e-12, atol=0)


def rows(name, **changes):  # -> learning rates (199,), weight decays (199,)
    return np.array([schedule(name, epoch, **RECIPE | changes) for epoch in EPOCHS]).T


@pytest.mark.parametrize(("name", "golden"), [("cosine_wd", "cosine_wd"), ("cosine_fixed_wd", "cosine_fixed")])
def test_rate_and_decay_are_the_golden_ones_in_every_epoch(name, golden):
    rates, decays = rows(name)
    assert same(rates, GOLDEN[golden + "_lr"])
    assert same(decays, GOLDEN[golden + "_wd"])


def test_plain_cosine_has_the_golden_rate_and_a_constant_decay():
    rates, decays = rows("cosine")
    assert same(rates, GOLDEN["cosine_lr"])
    assert set(decays) == {1e-3}


def test_epochs_beyond_whole_cycles_change_nothing():
    rates, decays = rows("cosine_wd", max_epoch=203)
    assert same(rates, GOLDEN["cosine_wd_203_lr"])
    assert same(decays, GOLDEN["cosine_wd_203_wd"])


@pytest.mark.parametrize("name", ["cosine_wd", "cosine"])
def test_warm_up_of_three_epochs_lasts_three_and_all_other_epochs_are_golden(name):
    rates, _ = rows(name, warmup_epochs=3)
    assert list(rates[:3]) == [1e-6] * 3
    assert list(GOLDEN[f"{name}_warmup3_lr"][1:3] > 9e-5) == [True] * 2  # iw3 warms up in epoch 1 alone
    assert same(np.delete(rates, [1, 2]), np.delete(GOLDEN[f"{name}_warmup3_lr"], [1, 2]))


def test_warm_up_leaves_the_weight_decay_golden():
    assert same(rows("cosine_wd", warmup_epochs=3)[1], GOLDEN["cosine_wd_warmup3_wd"])


def test_a_run_ends_with_the_last_golden_epoch():
    assert run_length("cosine_wd", 200, 5) == run_length("cosine", 203, 5) == len(GOLDEN["cosine_wd_lr"])
    assert run_length("step", 200, 5) == 200


@pytest.mark.parametrize(("max_epoch", "cycles"), [(1, 1), (5, 5), (7, 2), (203, 5)])
def test_a_run_has_epochs_and_no_more_than_asked_for(max_epoch, cycles):
    assert 1 <= run_length("cosine_wd", max_epoch, cycles) <= max_epoch


def torch_rates(scheduler_class, **options):  # what torch's stateful scheduler says for epochs 1..199
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1e-4)
    scheduler = scheduler_class(optimizer, **options)
    rates = []
    for _ in EPOCHS:
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


def test_cosine_agrees_with_torch_for_other_settings():
    expected = torch_rates(lr_scheduler.CosineAnnealingWarmRestarts, T_0=28, eta_min=1e-6)
    assert same(rows("cosine", cycles=7, min_learning_rate=1e-6)[0], expected)


@pytest.mark.parametrize("step", [1, 30])
def test_one_decay_step_is_torchs_step_schedule(step):
    expected = torch_rates(lr_scheduler.StepLR, step_size=step, gamma=0.99)
    assert same(rows("step", decay_steps=(step,))[0], expected)


def test_several_decay_steps_are_torchs_milestones():
    expected = torch_rates(lr_scheduler.MultiStepLR, milestones=[20, 90, 150], gamma=0.1)
    assert same(rows("step", decay_steps=(20, 90, 150), decay=0.1)[0], expected)


def test_a_group_without_weight_decay_stays_without_through_a_whole_run():
    groups = [{"params": [torch.zeros(1)], "weight_decay": 1e-3}, {"params": [torch.zeros(1)], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4)
    applied = []
    for epoch in EPOCHS:
        apply(optimizer, schedule("cosine_wd", epoch, **RECIPE))
        applied.append([(group["lr"], group["weight_decay"]) for group in optimizer.param_groups])
    applied = np.array(applied)  # (epochs, groups, 2)
    assert same(applied[:, 0, 0], GOLDEN["cosine_wd_lr"])
    assert same(applied[:, 1, 0], GOLDEN["cosine_wd_lr"])
    assert same(applied[:, 0, 1], GOLDEN["cosine_wd_wd"])
    assert same(applied[:, 1, 1], GOLDEN["cosine_wd_wd_nodecay_group"])


def test_weight_decay_may_fall_to_zero_and_rises_again_with_the_next_cycle():
    optimizer = torch.optim.AdamW([torch.zeros(1)], lr=1e-4, weight_decay=1e-3)
    for epoch in range(1, 42):
        expected = schedule("cosine_wd", epoch, **RECIPE, weight_decay_end=0.0)
        apply(optimizer, expected)
        assert Rates(optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == expected
    assert expected.weight_decay > 9e-4


def test_more_cycles_than_epochs_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match="--learning-rate-cycles 5: pass --learning-rate-cycles 3 or less"):
        run_length("cosine", 3, 5)
    with pytest.raises(ValueError, match="--max-epoch 3 is less than --learning-rate-cycles 5"):
        schedule("cosine", 1, **RECIPE | {"max_epoch": 3})


def test_an_unknown_schedule_is_refused_with_the_known_names():
    with pytest.raises(ValueError, match="'linear' is unknown, expected cosine_wd, cosine, cosine_fixed_wd or step"):
        schedule("linear", 1, **RECIPE)
