import numpy as np
import pytest

from pack.holes.mappers import mapper
from pack.sampling import MAPPERS_METRIC, MAPPERS_RELATIVE, draw_clip, uniform


@pytest.fixture(scope="module")
def draws():
    return [draw_clip(uniform(71, "1f2e3d4c", clip), 1280, metric=False) for clip in range(6000)]


def share(draws, condition):
    return pytest.approx(np.mean([condition(draw) for draw in draws]), abs=0.025)  # four standard deviations of a half


def sample(count=3000, **options):
    options = {"source_width": 1280, "metric": False} | options
    return [draw_clip(uniform(5, "ab", clip), **options) for clip in range(count)]


def test_half_of_the_clips_are_rotated_by_up_to_45_degrees(draws):
    angles = [draw.rotation for draw in draws if draw.rotation is not None]
    assert len(angles) / len(draws) == pytest.approx(0.5, abs=0.025)
    assert -45 <= min(angles) < -44 and 44 < max(angles) <= 45 and abs(np.mean(angles)) < 2


def test_sizes_and_interpolations_have_iw3s_shares(draws):
    assert share(draws, lambda draw: draw.short_side == 720) == 1 / 3
    assert share(draws, lambda draw: draw.short_side == 1080) == 2 / 3
    assert share(draws, lambda draw: draw.interpolation == "bicubic") == 0.5
    assert share(draws, lambda draw: draw.view == "left") == 0.5


def test_convergence_is_mostly_one_of_three(draws):
    typical = [draw.convergence for draw in draws if draw.convergence in (0, 0.5, 1)]
    assert len(typical) / len(draws) == pytest.approx(0.7, abs=0.025)
    assert share(draws, lambda draw: draw.convergence == 0.5) == 0.7 / 3
    others = [draw.convergence for draw in draws if draw.convergence not in (0, 0.5, 1)]
    assert 0 <= min(others) < 0.02 and 0.98 < max(others) <= 1 and np.mean(others) == pytest.approx(0.5, abs=0.03)


def test_mappers_fit_the_kind_of_depth(draws):
    assert share(draws, lambda draw: draw.mapper == "none") == 0.7
    for name in MAPPERS_RELATIVE:
        assert share(draws, lambda draw, name=name: draw.mapper == name) == 0.3 / 6
    metric = sample(metric=True)
    assert share(metric, lambda draw: draw.mapper == "div_6") == 0.7
    for name in MAPPERS_METRIC:
        assert share(metric, lambda draw, name=name: draw.mapper == name) == 0.3 / 6


def test_every_mapper_that_can_be_drawn_exists():
    for name in {"div_6", "none", *MAPPERS_METRIC, *MAPPERS_RELATIVE}:
        mapper(name)


def test_edges_of_depth_grow_more_often_in_fine_depth_maps(draws):
    for rounds, expected in enumerate((1 / 2, 1 / 3, 1 / 6, 0)):
        assert share(draws, lambda draw, rounds=rounds: draw.edge_dilation == rounds) == expected
    for resolution, expected in ((511, (3 / 6, 2 / 6, 1 / 6)), (512, (6 / 12, 3 / 12, 1 / 12, 1 / 12, 1 / 12))):
        fine = sample(resolution=resolution)
        for rounds, part in enumerate(expected):
            assert share(fine, lambda draw, rounds=rounds: draw.edge_dilation == rounds) == part


LEVELS = {
    "1": ((2, 2.5, 3, 4), 0, 5),
    "2": ((4, 5, 6), 3, 8),
    "3": ((7, 8, 9), 6, 11),
    "wide": ((2, 3, 4, 6, 8, 11, 16), 0, 16),
}


@pytest.mark.parametrize("level", LEVELS)
def test_divergences_are_mostly_typical_and_else_fill_the_levels_range(level):
    typical, low, high = LEVELS[level]
    found = [draw.divergence for draw in sample(level=level, source_width=500)]
    others = [value for value in found if value not in typical]
    assert len(others) / len(found) == pytest.approx(0.3, abs=0.035)
    for value in typical:
        assert found.count(value) / len(found) == pytest.approx(0.7 / len(typical), abs=0.035)
    assert low <= min(others) < low + 0.1 and high - 0.1 < max(others) <= high


@pytest.mark.parametrize(
    ("level", "low", "high"),
    [("1", 0, 6400 / 3840), ("2", 6400 / 3840 - 0.1, 6400 / 3840), ("3", 6400 / 3840 - 0.1, 6400 / 3840)],
)
def test_a_wide_source_limits_the_divergences_that_are_not_typical(level, low, high):
    found = [draw.divergence for draw in sample(level=level, source_width=3840)]
    others = [value for value in found if value not in LEVELS[level][0]]
    assert min(others) >= low - 1e-4 and high - 0.05 < max(others) <= high + 1e-4


def test_crops_are_uniform_and_each_record_has_four_of_its_own(draws):
    places = np.array([draw.places for draw in draws])  # clip, sample, upright or mirrored, try, (x, y)
    assert places.shape[1:] == (1, 2, 4, 2)
    assert len(np.unique(places)) == places.size
    assert np.histogram(places, 10, (0, 1))[0] / places.size == pytest.approx(0.1, abs=0.005)


def test_a_clips_numbers_are_its_own():
    def one(seed=71, file_hash="1f2e3d4c", clip=3, **options):
        return draw_clip(uniform(seed, file_hash, clip), 1280, False, **options)

    assert one() == one()
    assert len({one(), one(seed=72), one(file_hash="1f2e3d4d"), one(clip=4)}) == 4
    more = one(num_samples=3)
    assert more.places[:1] == one().places  # more samples add to the first, and change nothing else
    assert (more.divergence, more.rotation, more.mapper) == (one().divergence, one().rotation, one().mapper)


def test_the_numbers_are_those_of_pcg64_today_and_in_future():
    gen = uniform(71, "1f2e3d4c", 0)
    assert [round(gen(), 6) for _ in range(3)] == [0.642988, 0.099375, 0.725203]
