import io
from collections import defaultdict, deque

import numpy as np
import pytest
import torch

from tests.support import GOLDEN as GOLDEN_FOLDER
from train.data.mining import History

GOLDEN = np.load(GOLDEN_FOLDER / "schedule_sampler.npz")
SEQUENCE = GOLDEN["sampler_seq"]  # (10 2): record, loss
WEIGHTS = GOLDEN["sampler_weights"]  # (11 8): before the first and after each


def random_draws(seed, records, count):  # -> (count) int, (count) float
    gen = np.random.default_rng(seed)
    return gen.integers(0, records, count), gen.random(count)


def test_weights_after_every_loss_are_the_golden_ones():
    history = History(8)
    rows = [history.weights()]
    for record, loss in SEQUENCE:
        history.update([int(record)], [loss])
        rows.append(history.weights())
    assert np.allclose(rows, WEIGHTS, rtol=0, atol=5e-7)
    assert np.allclose(history.averages(), GOLDEN["sampler_sma"], rtol=1e-6, atol=0)


def test_all_losses_at_once_are_the_losses_one_by_one():
    history = History(8)
    history.update(SEQUENCE[:, 0].astype(int), SEQUENCE[:, 1])
    assert np.allclose(history.weights(), WEIGHTS[-1], rtol=0, atol=5e-7)


@pytest.mark.parametrize("call", [1, 7, 300])
def test_averages_are_those_of_the_last_four_losses_however_they_are_entered(call):
    records, losses = random_draws(0, 20, 300)
    history, expected = History(21), defaultdict(lambda: deque(maxlen=4))
    for start in range(0, 300, call):
        history.update(records[start : start + call], losses[start : start + call])
    for record, loss in zip(records, losses, strict=True):
        expected[record].append(loss)
    averages = history.averages()
    assert np.allclose(averages[:20], [np.mean(expected[record]) for record in range(20)])
    assert averages[20] == np.inf


def test_weights_follow_the_formula_written_out():
    history = History(50)
    history.update(*random_draws(1, 40, 100))
    averages = history.averages().astype(np.float64)
    seen = torch.from_numpy(averages[np.isfinite(averages)])
    z = np.clip((averages - seen.mean().item()) / (seen.std().item() + 1e-6 * seen.mean().item()), -2, 2)
    assert np.allclose(history.weights(), np.clip(4 * (z + 2) / 4 + 1, 1, 4) / 4, atol=1e-6)
    assert history.weights().min() >= 0.25 and history.weights().max() == 1


def test_equal_losses_give_equal_weights():
    history = History(6)
    history.update(range(5), [0.3] * 5)
    assert np.allclose(history.weights(), [0.75] * 5 + [1])


def test_losses_that_are_not_finite_leave_no_trace():
    clean, disturbed = History(8), History(8)
    records, losses = random_draws(2, 8, 40)
    clean.update(records, losses)
    bad = np.resize([np.nan, np.inf, -np.inf], 40)
    disturbed.update(np.repeat(records, 2), np.stack([losses, bad], 1).ravel())
    assert np.array_equal(clean.weights(), disturbed.weights())


def test_no_losses_at_all_are_taken():
    history = History(8)
    history.update([], [])
    assert np.array_equal(history.weights(), np.ones(8))


@pytest.mark.parametrize("stop", [0, 3, 60])
def test_a_history_saved_and_loaded_goes_on_to_the_bit(stop):
    records, losses = random_draws(3, 30, 100)
    straight, broken = History(40), History(40)
    straight.update(records, losses)
    broken.update(records[:stop], losses[:stop])
    file = io.BytesIO()
    torch.save(broken.state_dict(), file)
    file.seek(0)
    resumed = History(40)
    resumed.update([39], [5.0])  # what a history knew before it loads is forgotten
    resumed.load_state_dict(torch.load(file, weights_only=True))
    resumed.update(records[stop:], losses[stop:])
    assert np.array_equal(resumed.weights(), straight.weights())


def test_a_saved_state_does_not_change_with_the_history():
    history = History(8)
    history.update([1, 2], [0.5, 0.6])
    state = history.state_dict()
    history.update([1, 2], [0.1, 0.1])
    assert torch.equal(state["losses"][-1], torch.tensor([0.5, 0.6]))


def test_a_state_holds_the_seen_of_ten_million_records_alone():
    history = History(10_000_000)
    history.update([9_999_999, 5], [1.0, 2.0])
    state = history.state_dict()
    assert sum(value.nbytes for value in state.values() if torch.is_tensor(value)) < 1000
    assert np.count_nonzero(np.isfinite(history.averages())) == 2


def test_the_losses_of_another_dataset_are_refused_with_both_sizes():
    with pytest.raises(ValueError, match="losses of 8 records, the dataset has 9"):
        History(9).load_state_dict(History(8).state_dict())
