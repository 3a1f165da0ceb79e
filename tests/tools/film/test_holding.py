import pytest

from pack.config import parse_shots
from tools.film.holding import AIM, LEAST, divide, hold_out, usable


def roles(*counts):
    """The roles where the held-out shots have so many records."""
    return divide({f"{shot}-{number}": shot for shot, count in enumerate(counts) for number in range(count)})


def shots_of(keys):
    return {key.partition("-")[0] for key in keys}


@pytest.mark.parametrize("shots", [6, 7, 13, 20, 21, 56, 57, 400])
def test_no_shot_is_in_two_splits_and_every_shot_is_in_one(shots):
    found = hold_out([20] * shots)
    rules = [parse_shots(rule) for rule in (found.train, found.eval)]
    assert all(sum(rule(shot) for rule in rules) == 1 for shot in range(shots))


def test_every_seventh_shot_is_held_out_of_a_film_with_enough_shots():
    found = hold_out([20] * 70)
    assert usable([20] * 70, found.train) == 60 and usable([20] * 70, found.eval) == 10
    assert all(usable([20] * shots, hold_out([20] * shots).eval) >= AIM for shots in range(4 * AIM, 100))


def test_of_a_short_film_more_are_held_out_and_of_too_few_shots_none():
    assert usable([20] * 6, hold_out([20] * 6).eval) == LEAST
    for lengths in ([], [500], [20] * 5, [15] * 100, [20, 15] * 3):
        assert hold_out(lengths) is None


@pytest.mark.parametrize("shots", range(LEAST + 1, 40))
def test_no_shot_is_both_for_validation_and_for_the_test(shots):
    found = roles(*[2] * shots)
    assert found.apart and not shots_of(found.validation) & shots_of(found.test)
    assert len(found.validation | found.test) == 2 * shots and found.validation
    assert len(shots_of(found.test)) >= max(LEAST, len(shots_of(found.validation)))


def test_where_the_shots_with_records_are_only_enough_for_the_test_they_are_for_validation_too():
    found = roles(2, 0, 1, 0, 3)
    assert not found.apart and found.validation == found.test and len(found.test) == 6
    assert roles(4, 0, 4, 0) is None and divide({}) is None
