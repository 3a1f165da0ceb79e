import pytest

from pack.config import parse_shots
from tools.film.holding import AIM, LEAST, SEPARATE, hold_out, usable


@pytest.mark.parametrize("shots", [6, 7, 13, 20, 21, 56, 57, 400])
def test_no_shot_is_in_two_splits_and_every_shot_is_in_one(shots):
    found = hold_out([20] * shots)
    rules = [parse_shots(rule) for rule in (found.train, found.eval, found.proof) if rule]
    assert all(sum(rule(shot) for rule in rules) == 1 for shot in range(shots))


def test_every_seventh_shot_is_held_out_of_a_film_with_enough_shots():
    found = hold_out([20] * 70)
    assert usable([20] * 70, found.train) == 60 and usable([20] * 70, found.proof) == 5
    assert hold_out([20] * 40).proof == "" and usable([20] * 40, hold_out([20] * 40).eval) == 6
    assert usable([20] * 20, hold_out([20] * 20).eval) == AIM


def test_of_a_short_film_more_are_held_out_and_of_too_few_shots_none():
    assert usable([20] * 6, hold_out([20] * 6).eval) == LEAST
    for lengths in ([], [500], [20] * 5, [15] * 100, [20, 15] * 3):
        assert hold_out(lengths) is None


def test_shots_that_stop_the_training_are_those_of_the_certificate_only_where_they_are_few():
    for shots in range(6, 200):
        found = hold_out([20] * shots)
        held = shots - usable([20] * shots, found.train)
        assert bool(found.proof) == (held >= SEPARATE)
