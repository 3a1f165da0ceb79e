"""Small scenes for tests."""

import numpy as np

from pack.scenes.layers import Layer, Scene


def picture(height=40, width=56, seed=0):  # -> uint8 (h w 3)
    """A smooth picture of random colours."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 8, width // 8, 3))
    return coarse.repeat(8, 0).repeat(8, 1).astype(np.uint8)


def textures():
    return [picture(seed=seed) for seed in range(3)]


def simple_scene(*foregrounds: Layer, background: Layer | None = None, **fields) -> Scene:
    """Foregrounds before a wall of nearness 0, or before another background."""
    size = {"height": 32, "width": 64}
    wall = background or Layer(picture(), None, (31.5, 15.5), 0.0)
    how = {"seed": 0, "frames": 2, "divergence": 10.0, "convergence": 0.5} | size | fields
    return Scene(layers=(wall, *foregrounds), **how)


def card(centre=(30.0, 16.0), nearness=1.0, height=12, width=14, **fields) -> Layer:
    """A rectangle with hard edges."""
    coverage = np.zeros((height + 2, width + 2), np.uint8)
    coverage[1:-1, 1:-1] = 255
    return Layer(picture(seed=1), coverage, centre, nearness, **fields)
