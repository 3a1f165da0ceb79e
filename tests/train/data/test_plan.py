import numpy as np
import pytest

from train.config import epoch_slots
from train.data.plan import Plan, replacement, slots_of


def epochs(plan, count, first=1):
    return np.concatenate([plan.records(epoch) for epoch in range(first, first + count)])


@pytest.mark.parametrize("window", [0, 2])
@pytest.mark.parametrize("slots", [3, 7, 10, 25])
def test_no_record_comes_twice_before_every_record_came_once_whatever_the_length_of_an_epoch(slots, window):
    plan = Plan([4, 1, 3, 2], slots, seed=5, window=window)
    row = epochs(plan, 30)
    passes = row[: len(row) // 10 * 10].reshape(-1, 10)
    assert np.array_equal(np.sort(passes, axis=1), np.tile(np.arange(10), (len(passes), 1)))
    assert len(np.unique(passes, axis=0)) == len(passes)


def test_an_epoch_is_a_function_of_its_number_and_the_seed_alone():
    plan, other = Plan([50, 50], 30, seed=1), Plan([50, 50], 30, seed=2)
    later = [plan.records(epoch) for epoch in (9, 3, 9)]
    assert np.array_equal(later[0], later[2])
    assert np.array_equal(later[0], epochs(Plan([50, 50], 30, seed=1), 9)[-30:])
    assert not np.array_equal(later[0], other.records(9))


def test_shards_do_not_bound_the_shuffle_without_a_window():
    row = Plan([100] * 10, 1000, seed=0).records(1)
    neighbours = np.mean(row[1:] // 100 == row[:-1] // 100)
    assert neighbours == pytest.approx(0.1, abs=0.05)


def spans(row, sizes):
    """First and last slot of each shard that the row shows."""
    shard = np.searchsorted(np.cumsum(sizes), row, side="right")
    return [np.flatnonzero(shard == s)[[0, -1]] for s in np.unique(shard)]


@pytest.mark.parametrize("weights", [None, "random"])
@pytest.mark.parametrize("window", [1, 3, 40])
def test_a_window_keeps_few_shards_open_at_a_time(window, weights):
    sizes = [10 + number % 7 for number in range(20)]
    plan = Plan(sizes, 500, seed=3, window=window)
    weights = None if weights is None else np.random.default_rng(0).uniform(0.25, 1, plan.count).astype(np.float32)
    row = plan.records(2, weights)
    first = 0 if weights is not None else -500 % plan.count  # slots that finish the permutation before
    row = row[first : first + plan.count]
    at_once = [sum(a <= slot <= b for a, b in spans(row, sizes)) for slot in range(len(row))]
    assert max(at_once) <= window


def test_a_window_is_shuffled_inside_and_shards_change_their_neighbours():
    plan = Plan([10] * 20, 200, seed=0, window=4)
    row = plan.records(1)
    assert np.mean(row[1:40] // 10 == row[:39] // 10) < 0.5
    companions = [frozenset(plan.records(epoch)[:40] // 10) for epoch in range(1, 9)]
    assert len(set(companions)) == 8


@pytest.mark.parametrize("window", [0, 5])
def test_weighted_draws_follow_the_weights(window):
    gen = np.random.default_rng(1)
    weights = gen.uniform(0.25, 1, 50).astype(np.float32)
    plan = Plan([10] * 5, 1000, seed=0, window=window)
    counts = sum(np.bincount(plan.records(epoch, weights), minlength=50) for epoch in range(1, 201))
    expected = 200_000 * weights / weights.sum()
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert 20 < chi2 < 90  # 49 degrees of freedom: all but 1 in 1,000 of fair draws


def test_weighted_draws_are_with_replacement_and_leave_some_records_for_later():
    row = Plan([1000], 1000, seed=0).records(1, np.ones(1000, np.float32))
    assert len(np.unique(row)) == pytest.approx(632, abs=40)  # 1 - 1/e


def test_a_record_of_weight_nought_is_never_drawn():
    weights = np.array([0, 1, 0, 1, 0], np.float32)
    assert set(Plan([5], 1000, seed=0).records(1, weights)) == {1, 3}


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_ranks_share_the_slots_of_every_step_and_none_is_lost(world):
    taken = [slots_of(rank, world, 8, 40, 4) for rank in range(world)]
    assert sorted(slot for slots in taken for slot in slots) == list(range(8, 40))
    for slots in taken:
        share = len(slots) // 8  # the same in every step
        assert [(slot - 8) // 4 for slot in slots] == [step for step in range(8) for _ in range(share)]


def test_the_records_of_each_step_are_dealt_out_one_by_one_from_rank_0_on():
    assert [slots_of(rank, 3, 4, 10, 3) for rank in range(3)] == [[4, 7], [5, 8], [6, 9]]
    both = [slots_of(rank, 2, 6, 18, 6, tiles=2) for rank in range(2)]
    assert both == [[6, 7, 10, 11, 12, 13, 16, 17], [8, 9, 14, 15]]


def test_an_epoch_has_iw3s_sequences_rounded_up_to_whole_steps():
    assert epoch_slots(20000, 12, 1) == 1666
    assert epoch_slots(20000, 12, 4) == 1668
    assert epoch_slots(20000, 12, 8) == 1672
    assert epoch_slots(12, 12, 8) == 8


def test_replacements_differ_by_slot_and_attempt_and_spread_over_all_records():
    drawn = [replacement(3, 1, slot, attempt, 10) for slot in range(500) for attempt in (1, 2)]
    counts = np.bincount(drawn, minlength=10)
    assert counts.min() > 60 and counts.max() < 140
    assert drawn == [replacement(3, 1, slot, attempt, 10) for slot in range(500) for attempt in (1, 2)]
    assert drawn[::2] != drawn[1::2]


def test_consecutive_slots_of_a_record_are_one_draw_each():
    for weights in (None, np.arange(1, 11, dtype=np.float32)):
        visits = Plan([5, 5], 4, seed=1).records(2, weights)
        for tiles in (2, 3):
            row = Plan([5, 5], 4 * tiles, seed=1, tiles=tiles).records(2, weights)
            assert np.array_equal(row, visits.repeat(tiles))


def test_slots_that_do_not_divide_go_to_the_sources_of_the_largest_remainders():
    plan = Plan([5] * 4, 11, seed=1, sources=((1, 0.4), (1, 0.3), (1, 0.2), (1, 0.1)))  # 4.4, 3.3, 2.2 and 1.1 slots
    assert np.bincount(plan.records(1) // 5).tolist() == [5, 3, 2, 1]
    plan = Plan([5] * 4, 10, seed=1, sources=((1, 1.6), (1, 2.8), (1, 3.7), (1, 1.9)))
    assert np.bincount(plan.records(1) // 5).tolist() == [1, 3, 4, 2]


def test_weights_apply_within_each_of_several_sources_whose_shares_they_leave_alone():
    weights = np.array([1, 3, 1, 1, 0, 2, 8, 8], np.float32)
    plan = Plan([2, 2, 2, 2], 20_000, seed=0, sources=((1, 1.0), (2, 2.0), (1, 5.0)))
    shares = np.bincount(plan.records(1, weights), minlength=8) / 20_000
    expected = np.array([1 / 4, 3 / 4, 2 / 4, 2 / 4, 0, 4 / 4, 5 / 2, 5 / 2]) / 8
    assert shares == pytest.approx(expected, abs=0.015) and shares[4] == 0


SOURCES = ((1, 1.0), (2, 3.0))


def test_a_plan_is_the_same_in_every_version_because_resumed_runs_continue_it():
    weights = np.arange(1, 10, dtype=np.float32)
    rows = [
        Plan([3, 2, 4], 8, seed=5, **options).records(1, drawn).tolist()
        for drawn in (None, weights)
        for options in ({}, {"window": 2}, {"sources": SOURCES})
    ]
    assert rows == [
        [6, 7, 8, 0, 1, 4, 3, 5],
        [2, 4, 1, 0, 3, 5, 6, 7],
        [1, 4, 5, 8, 3, 7, 6, 0],
        [4, 7, 7, 6, 6, 3, 3, 4],
        [7, 6, 6, 7, 3, 4, 4, 3],
        [3, 7, 6, 5, 6, 2, 2, 3],
    ]
    assert [replacement(5, 2, slot, 1, 9) for slot in range(8)] == [3, 0, 3, 2, 7, 0, 8, 4]
