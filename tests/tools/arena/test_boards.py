import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from tools.arena.boards import Board, board_as_json, correlation, ranks


def board(**values):
    return Board("split", "PSNR", False, {name: np.array(column, float) for name, column in values.items()})


def test_the_largest_mean_has_rank_1_and_equal_means_the_order_given():
    found = ranks(board(a=[1, 2], b=[5, 6], c=[3, 0]))
    assert [found[name].place for name in "abc"] == [2, 1, 3]


def test_ranks_are_certain_where_a_method_leads_on_every_clip_and_uncertain_where_it_does_not():
    found = ranks(board(best=[10, 20, 30], second=[9, 19, 29], third=[8, 18, 28]))
    assert {(rank.low, rank.high) for rank in (found["best"],)} == {(1, 1)}
    shaky = ranks(board(a=[0, 9, 0, 9], b=[9, 0, 9, 1]))
    assert (shaky["a"].low, shaky["a"].high) == (1, 2)


def test_differences_are_paired_by_clip():
    found = board(a=[1, 11, 101], b=[0, 10, 100]).difference("a", "b")
    assert (found.mean, found.low, found.high) == (1, 1, 1)


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    for _ in range(5):
        one, other = ({name: rng.integers(0, 5, 3) for name in "abcdef"} for _ in range(2))  # with equal means
        expected = spearmanr([v.mean() for v in one.values()], [v.mean() for v in other.values()]).statistic
        assert correlation(board(**one), board(**other)) == pytest.approx(expected)


def test_the_same_order_correlates_with_1_and_the_reverse_with_minus_1():
    one = board(a=[1], b=[2], c=[3])
    assert correlation(one, board(a=[10], b=[200], c=[201])) == pytest.approx(1)
    assert correlation(one, board(a=[3], b=[2], c=[0])) == pytest.approx(-1)
    assert math.isnan(correlation(board(a=[1], b=[2]), board(a=[1], b=[2])))


def test_json_says_of_each_method_its_mean_rank_and_distance_from_the_first():
    found = board_as_json(board(a=[1, 3], b=[2, 5]), "a")["methods"]
    assert found["b"]["mean"] == 3.5 and found["b"]["rank"]["place"] == 1
    assert found["b"]["against_first"]["mean"] == 1.5 and "against_first" not in found["a"]
