import numpy as np
import pytest

from pack.holes.mappers import mapper
from pack.sampling import MAPPERS_METRIC, MAPPERS_RELATIVE, draw_params, uniform


@pytest.fixture(scope="module")
def all_params():
    return [draw_params(uniform(71, "1f2e3d4c", clip), 1280, metric=False) for clip in range(6000)]


def share(all_params, condition):
    return pytest.approx(
        np.mean([condition(params) for params in all_params]), abs=0.025
    )  # four standard deviations of a half


def sample(count=3000, **options):
    options = {"source_width": 1280, "metric": False} | options
    return [draw_params(uniform(5, "ab", clip), **options) for clip in range(count)]


def test_half_of_the_clips_are_rotated_by_up_to_45_degrees(all_params):
    angles = [params.rotation for params in all_params if params.rotation is not None]
    assert len(angles) / len(all_params) == pytest.approx(0.5, abs=0.025)
    assert -45 <= min(angles) < -44 and 44 < max(angles) <= 45 and abs(np.mean(angles)) < 2


def test_sizes_and_interpolations_have_iw3s_shares(all_params):
    assert share(all_params, lambda params: params.short_side == 720) == 1 / 3
    assert share(all_params, lambda params: params.short_side == 1080) == 2 / 3
    assert share(all_params, lambda params: params.interpolation == "bicubic") == 0.5
    assert share(all_params, lambda params: params.view == "left") == 0.5


def test_convergence_is_mostly_one_of_three(all_params):
    typical = [params.convergence for params in all_params if params.convergence in (0, 0.5, 1)]
    assert len(typical) / len(all_params) == pytest.approx(0.7, abs=0.025)
    assert share(all_params, lambda params: params.convergence == 0.5) == 0.7 / 3
    others = [params.convergence for params in all_params if params.convergence not in (0, 0.5, 1)]
    assert 0 <= min(others) < 0.02 and 0.98 < max(others) <= 1 and np.mean(others) == pytest.approx(0.5, abs=0.03)


def test_mappers_depend_on_the_kind_of_depth(all_params):
    assert share(all_params, lambda params: params.mapper == "none") == 0.7
    for name in MAPPERS_RELATIVE:
        assert share(all_params, lambda params, name=name: params.mapper == name) == 0.3 / 6
    metric = sample(metric=True)
    assert share(metric, lambda params: params.mapper == "div_6") == 0.7
    for name in MAPPERS_METRIC:
        assert share(metric, lambda params, name=name: params.mapper == name) == 0.3 / 6


def test_every_random_mapper_exists():
    for name in {"div_6", "none", *MAPPERS_METRIC, *MAPPERS_RELATIVE}:
        mapper(name)


def test_edges_of_depth_grow_more_often_in_fine_depth_maps(all_params):
    for rounds, expected in enumerate((1 / 2, 1 / 3, 1 / 6, 0)):
        assert share(all_params, lambda params, rounds=rounds: params.edge_dilation == rounds) == expected
    for resolution, expected in ((511, (3 / 6, 2 / 6, 1 / 6)), (512, (6 / 12, 3 / 12, 1 / 12, 1 / 12, 1 / 12))):
        fine = sample(resolution=resolution)
        for rounds, part in enumerate(expected):
            assert share(fine, lambda params, rounds=rounds: params.edge_dilation == rounds) == part


LEVELS = {
    "1": ((2, 2.5, 3, 4), 0, 5),
    "2": ((4, 5, 6), 3, 8),
    "3": ((7, 8, 9), 6, 11),
    "wide": ((2, 3, 4, 6, 8, 11, 16), 0, 16),
}


@pytest.mark.parametrize("level", LEVELS)
def test_most_divergences_are_typical_and_the_others_cover_the_levels_range(level):
    typical, low, high = LEVELS[level]
    found = [params.divergence for params in sample(level=level, source_width=500)]
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
    found = [params.divergence for params in sample(level=level, source_width=3840)]
    others = [value for value in found if value not in LEVELS[level][0]]
    assert min(others) >= low - 1e-4 and high - 0.05 < max(others) <= high + 1e-4


def test_crops_are_uniform_and_each_record_has_four_of_its_own(all_params):
    places = np.array(
        [params.crop_positions for params in all_params]
    )  # clip, sample, upright or mirrored, try, (x, y)
    assert places.shape[1:] == (1, 2, 4, 2)
    assert len(np.unique(places)) == places.size
    assert np.histogram(places, 10, (0, 1))[0] / places.size == pytest.approx(0.1, abs=0.005)


def test_a_clips_parameters_depend_on_seed_video_and_clip_alone():
    def one(seed=71, file_hash="1f2e3d4c", clip=3, **options):
        return draw_params(uniform(seed, file_hash, clip), 1280, False, **options)

    assert one() == one()
    assert len({one(), one(seed=72), one(file_hash="1f2e3d4d"), one(clip=4)}) == 4
    more = one(num_samples=3)
    assert more.crop_positions[:1] == one().crop_positions  # more samples add to the first, and change nothing else
    assert (more.divergence, more.rotation, more.mapper) == (one().divergence, one().rotation, one().mapper)


def test_random_numbers_are_those_of_pcg64_in_every_version():
    gen = uniform(71, "1f2e3d4c", 0)
    assert [round(gen(), 6) for _ in range(3)] == [0.642988, 0.099375, 0.725203]
