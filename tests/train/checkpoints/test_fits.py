"""A state in a checkpoint that does not fit the run is one line, and nothing of the run has changed."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tools.cli import UserError
from train.checkpoints.fits import check_states
from train.data.mining import History
from train.optimizers.ema import EMA

SHARDS = [["a", "1", 3], ["b", "2", 2]]


def trained():
    """A network after one step, as a run has it, and its history of losses."""
    network = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    ema = EMA(network)
    ema.update()
    history = History(5)
    history.update(np.array([0, 4]), np.array([0.5, 0.25]))
    return SimpleNamespace(network=network, optimizer=optimizer, ema=ema, gan=None), history


def saved_state(learner, history):
    ours = {"ema": learner.ema.state_dict(), "mining": history.state_dict(), "data": {"shards": SHARDS}}
    optimizers = [learner.optimizer.state_dict()]
    return copy.deepcopy(
        {"optimizer_state_dict": optimizers, "grad_scaler_state_dict": [{"scale": 2.0}], "backfill": ours}
    )


def optimizer_of(saved):
    return saved["optimizer_state_dict"][0]


def cut_moment(saved):
    optimizer_of(saved)["state"][0]["exp_avg"] = torch.zeros(7)


def nan_moment(saved):
    optimizer_of(saved)["state"][0]["exp_avg_sq"][0, 0] = math.nan


def text_as_moment(saved):
    optimizer_of(saved)["state"][0]["step"] = "many"


def unknown_weight(saved):
    optimizer_of(saved)["state"][9] = {}


def fewer_weights(saved):
    optimizer_of(saved)["param_groups"][0]["params"] = [0]


def same_weight_twice(saved):
    optimizer_of(saved)["param_groups"][0]["params"] = [0, 0]


def no_groups(saved):
    saved["optimizer_state_dict"][0] = {}


def two_optimizers(saved):
    saved["optimizer_state_dict"] *= 2


def scaler_of_text(saved):
    saved["grad_scaler_state_dict"][0] = {"scale": "x"}


def no_average(saved):
    saved["backfill"]["ema"] = None


def average_of_another_network(saved):
    saved["backfill"]["ema"]["weights"] = {"other": torch.ones(2)}


def average_of_another_shape(saved):
    saved["backfill"]["ema"]["weights"]["bias"] = torch.ones(5)


def average_that_is_infinite(saved):
    saved["backfill"]["ema"]["weights"]["bias"] = torch.tensor([1.0, math.inf])


def no_mining(saved):
    saved["backfill"]["mining"] = None


def mining_of_other_records(saved):
    saved["backfill"]["mining"]["records"] = 10**9


def mining_out_of_range(saved):
    saved["backfill"]["mining"]["seen"][0] = -1


def mining_of_a_record_twice(saved):
    saved["backfill"]["mining"]["seen"][:] = 4


def mining_of_another_type(saved):
    saved["backfill"]["mining"]["counts"] = saved["backfill"]["mining"]["counts"].double()


def mining_that_is_ragged(saved):
    saved["backfill"]["mining"]["losses"] = torch.zeros(4, 1)


DAMAGES = (
    cut_moment,
    nan_moment,
    text_as_moment,
    unknown_weight,
    fewer_weights,
    same_weight_twice,
    no_groups,
    two_optimizers,
    scaler_of_text,
    no_average,
    average_of_another_network,
    average_of_another_shape,
    average_that_is_infinite,
    no_mining,
    mining_of_other_records,
    mining_out_of_range,
    mining_of_a_record_twice,
    mining_of_another_type,
    mining_that_is_ragged,
)


def test_the_state_of_the_run_itself_fits():
    learner, history = trained()
    check_states(saved_state(learner, history), learner, history)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_state_that_does_not_fit_is_one_line(damage):
    learner, history = trained()
    saved = saved_state(learner, history)
    damage(saved)
    with pytest.raises(UserError, match="the checkpoint is damaged") as error:
        check_states(saved, learner, history)
    assert "\n" not in str(error.value)
