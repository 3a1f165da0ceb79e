from dataclasses import replace

import numpy as np
import pytest

from pack.scenes.render import render
from pack.scenes.scene import draw_scene
from pack.scenes.shapes import SHAPES, draw_shape
from tests.support.media.scenes import textures
from tools.cli import UserError


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("left", "right", "nearness"))


def test_the_same_seed_gives_the_same_bytes_and_another_one_others():
    first, again = (render(draw_scene(5, textures(), 32, 48, 3)) for _ in range(2))
    assert same(first, again)
    assert not same(first, render(draw_scene(6, textures(), 32, 48, 3)))


@pytest.mark.parametrize("seed", range(8))
def test_every_scene_has_what_a_record_needs(seed):
    scene = draw_scene(seed, textures(), 48, 64, 3)
    rendered = render(scene)
    assert rendered.left.shape == rendered.right.shape == (3, 48, 64, 3)
    assert rendered.nearness.min() == 0 and 0 < rendered.nearness.max() <= 1
    assert rendered.divergence == scene.divergence > 0 and 0 <= rendered.convergence <= 1
    assert not (rendered.uncovered & rendered.outside).any()


def test_surfaces_are_never_so_steep_that_the_other_eye_sees_them_folded():
    for seed in range(40):
        scene = draw_scene(seed, textures(), 48, 64, 1, divergence=10)
        scene = replace(scene, layers=scene.layers[:1])
        assert not render(scene).uncovered.any()


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_a_shape_covers_something_and_nothing_at_its_border(kind):
    shape = draw_shape(kind, 40, 60, 2.0, np.random.default_rng(0))
    assert shape.max() > 100
    assert not shape[0].any() and not shape[-1].any() and not shape[:, 0].any() and not shape[:, -1].any()


def test_a_scene_without_textures_is_refused():
    with pytest.raises(UserError, match="at least 1 texture"):
        draw_scene(0, [], 32, 32)
