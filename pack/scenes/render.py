"""Renders both eyes' views of a scene with their depth and occlusion.

T frames, H height, W width. The disparity is that of pack.holes: a point of nearness n that the left eye sees at column
x is at x - (n - convergence) * divergence / 100 * max(H, W) in the right eye.
"""

import math
from dataclasses import dataclass

import numpy as np

from pack.scenes.film import expose
from pack.scenes.layers import Layer, Pose, Scene, pose
from pack.scenes.scene_rows import LEVELS, see_rows

LEAST_RANGE = 0.25  # of nearness, to which a clip is normalised: flatter ones keep some of their flatness
NOTHING = np.zeros((0, 0), np.float32)
NOWHERE = np.zeros((0, 0), bool)


@dataclass(frozen=True)
class Rendered:
    """A film's frames, their nearness, and the true frames of the other eye."""

    left: np.ndarray  # uint8 (T H W 3), the eye that is given
    right: np.ndarray  # uint8 (T H W 3), the true other eye
    nearness: np.ndarray  # float32 (T H W) of the left eye, in [0, 1], 1 near, one normalisation over the clip
    uncovered: np.ndarray  # bool (T H W), pixels of the right eye that are hidden in the left eye
    outside: np.ndarray  # bool (T H W), pixels of the right eye that are beyond the borders of the left eye
    divergence: float  # percent of max(H, W), as iw3's strength; half of what pack.holes takes for two views
    convergence: float  # nearness


@dataclass(frozen=True)
class Atlas:
    """Data that all frames share: the layers' pictures, concatenated."""

    places: np.ndarray  # int (L 6), as pack.scenes.scene_rows has them
    coverages: np.ndarray  # uint8 (N)
    textures: np.ndarray  # uint8 (M 3)


def render(scene: Scene) -> Rendered:
    """The scene as both eyes see it; the same scene gives the same bytes."""
    atlas = _pack(scene)
    shape = (scene.frames, scene.height, scene.width)
    left, right = np.empty((*shape, 3), np.uint8), np.empty((*shape, 3), np.uint8)
    nearness, uncovered, outside = np.empty(shape, np.float32), np.empty(shape, bool), np.empty(shape, bool)
    for t in range(scene.frames):
        left[t] = expose(_see(scene, atlas, t, 0, 0, nearness[t], NOWHERE, NOWHERE), scene, t, 0)
    low, size = float(nearness.min()), max(float(np.ptp(nearness)), LEAST_RANGE)
    shift = scene.shift / size
    offset = scene.shift * scene.convergence + shift * low
    for t in range(scene.frames):
        right[t] = expose(_see(scene, atlas, t, shift, offset, NOTHING, uncovered[t], outside[t]), scene, t, 1)
    nearness = np.clip((nearness - low) / size, 0, 1, dtype=np.float32)
    return Rendered(left, right, nearness, uncovered, outside, scene.divergence, scene.convergence)


def right_nearness(scene: Scene) -> np.ndarray:  # -> float32 (T H W)
    """The nearness that the right eye sees, normalised as that of the left eye."""
    atlas, shape = _pack(scene), (scene.frames, scene.height, scene.width)
    left, right = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for t in range(scene.frames):
        _see(scene, atlas, t, 0, 0, left[t], NOWHERE, NOWHERE)
    low, size = float(left.min()), max(float(np.ptp(left)), LEAST_RANGE)
    shift = scene.shift / size
    for t in range(scene.frames):
        _see(scene, atlas, t, shift, scene.shift * scene.convergence + shift * low, right[t], NOWHERE, NOWHERE)
    return np.clip((right - low) / size, 0, 1, dtype=np.float32)


def _see(scene, atlas, t, shift, offset, depth, hidden, outside):  # -> float32 (H W 3)
    """One eye's frame: the mean of its exposures, geometry as in the middle one."""
    look = scene.look
    colour = np.zeros((scene.height, scene.width, 3), np.float32)
    for i in range(look.exposures):
        middle = 2 * i == look.exposures - 1
        time = t + look.shutter * ((i + 0.5) / look.exposures - 0.5)
        numbers = np.array([_numbers(layer, pose(layer, scene, time)) for layer in scene.layers])
        see_rows(
            numbers,
            atlas.places,
            atlas.coverages,
            atlas.textures,
            np.array(_light(scene, t)),
            float(shift),
            float(offset),
            colour,
            depth if middle else NOTHING,
            hidden if middle else NOWHERE,
            outside if middle else NOWHERE,
        )
    return colour / look.exposures


def _light(scene, t):
    """Gain at (0, 0), and per pixel in x and y."""
    look = scene.look
    random = np.random.Generator(np.random.PCG64([scene.seed, 2, t])).random()
    gain = 1 + look.fade * t + look.flicker * (2 * random - 1)
    middle, across, down = (gain * value for value in look.light)
    return middle - across * (scene.width - 1) / 2 - down * (scene.height - 1) / 2, across, down


def _numbers(layer: Layer, at: Pose) -> list[float]:
    return [
        *at.centre,
        *at.matrix,
        at.nearness,
        *at.slope,
        *layer.bend,
        1 / layer.cell,
        1 / layer.grain,
        *layer.origin,
        *_half_size(layer),
    ]


def _half_size(layer):
    """Half of the width and height in which a layer may cover something, with room for its perspective."""
    if layer.coverage is None:
        return math.inf, math.inf
    room = 1 if layer.slope == layer.bend == (0, 0) else 1.35
    height, width = layer.coverage.shape
    return room * layer.cell * width / 2, room * layer.cell * height / 2


def _pack(scene: Scene) -> Atlas:
    places, coverages, textures = [], [np.zeros(1, np.uint8)], []
    covered, painted = 1, 0
    for layer in scene.layers:
        height, width = layer.texture.shape[:2]
        place = [-1, 0, 0, painted, height, width]
        if layer.coverage is not None:
            place[:3] = covered, *layer.coverage.shape
            coverages.append(layer.coverage.ravel())
            covered += layer.coverage.size
        for level in _levels(layer.texture):
            textures.append(level.reshape(-1, 3))
            painted += len(textures[-1])
        places.append(place)
    return Atlas(np.array(places), np.concatenate(coverages), np.concatenate(textures))


def _levels(texture):
    """The texture, and its halves by means of 2x2 pixels."""
    yield texture
    for _ in range(LEVELS - 1):
        height, width = (size // 2 for size in texture.shape[:2])
        part = texture[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3)
        texture = ((part.astype(np.uint16).sum((1, 3)) + 2) // 4).astype(np.uint8)
        yield texture
