"""Scenes: textured surfaces with holes and soft edges that move in front of a camera for some frames.

Coordinates are pixels of the given (left) eye, x to the right and y down, whole at pixel centres. Nearness is
proportional to inverse distance, so that a plane in space has a nearness that is affine in x and y.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

FAR = 0.35  # what nearness is counted from when it is an inverse distance: nearness 0 is 0.35 / 1.35 as near as 1


@dataclass(frozen=True)
class Layer:
    """A textured surface: the whole picture, or the part that its coverage selects."""

    texture: np.ndarray  # uint8 (h w 3), mirrored at its borders
    coverage: np.ndarray | None  # uint8 (h w) of 0..255, 0 beyond its borders; None: everywhere
    centre: tuple[float, float]  # x, y at time 0
    nearness: float  # at the centre
    slope: tuple[float, float] = (0, 0)  # of nearness, per pixel in x and y
    bend: tuple[float, float] = (0, 0)  # of nearness, per pixel squared in x and y
    cell: float = 1  # pixels that a pixel of the coverage is wide
    grain: float = 1  # pixels that a pixel of the texture is wide
    origin: tuple[float, float] = (0, 0)  # x, y of the texture at the layer's centre
    angle: float = 0  # radians
    flipped: bool = False  # left to right, before it is turned
    velocity: tuple[float, float] = (0, 0)  # pixels a frame
    sway: tuple[float, float] = (0, 0)  # amplitude in pixels, x and y
    period: float = 16  # of the sway, frames
    phase: float = 0  # of the sway, radians
    spin: float = 0  # radians a frame
    approach: float = 0  # nearness a frame


@dataclass(frozen=True)
class Look:
    """What camera and film do to the picture, the same for both eyes."""

    shutter: float = 0  # exposure, as a share of the time between two frames
    exposures: int = 1  # odd: moments that a motion-blurred frame is the mean of
    light: tuple[float, float, float] = (1, 0, 0)  # gain at the centre at time 0, and per pixel in x and y
    fade: float = 0  # of the gain, per frame
    flicker: float = 0  # of the gain, from frame to frame
    noise: float = 0  # standard deviation of film grain, in levels of 255
    quality: int | None = None  # of JPEG, for noise like that of compressed film


@dataclass(frozen=True)
class Scene:
    """Everything that is rendered. With a negative divergence the other eye is left of the given one."""

    seed: int
    height: int
    width: int
    frames: int
    layers: tuple[Layer, ...]
    divergence: float  # percent of the longer side between nearness 0 and 1, all of it in the eye that is made
    convergence: float  # nearness, of the normalised ones, that both eyes see in the same place
    roll: float = 0  # of the camera, radians a frame
    look: Look = Look()

    @property
    def shift(self) -> float:
        """Pixels by which nearness 1 moves further than nearness 0."""
        return self.divergence * 0.01 * max(self.height, self.width)


@dataclass(frozen=True)
class Pose:
    """Where a layer is at one time."""

    centre: tuple[float, float]
    matrix: tuple[float, float, float, float]  # from pixels around the centre to the layer's own, by rows
    nearness: float
    slope: tuple[float, float]


def pose(layer: Layer, scene: Scene, time: float) -> Pose:
    """The layer at a time in frames; the camera's roll turns everything around the middle of the picture."""
    swing = math.sin(2 * math.pi * time / layer.period + layer.phase)
    x, y = (c + v * time + a * swing for c, v, a in zip(layer.centre, layer.velocity, layer.sway, strict=True))
    middle_x, middle_y = (scene.width - 1) / 2, (scene.height - 1) / 2
    dx, dy = _turn(x - middle_x, y - middle_y, scene.roll * time)
    nearness = layer.nearness + layer.approach * time
    scale = (nearness + FAR) / (layer.nearness + FAR)  # layers that come nearer become larger
    angle = layer.angle + (layer.spin + scene.roll) * time
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    side = -1 if layer.flipped else 1
    slope = _turn(*layer.slope, (layer.spin + scene.roll) * time)
    return Pose((middle_x + dx, middle_y + dy), (side * cos, side * sin, -sin, cos), nearness, slope)


def mirrored(scene: Scene) -> Scene:
    """The mirrored scene: left and right are exchanged, and so are the eyes."""
    gain, across, down = scene.look.light
    return replace(
        scene,
        layers=tuple(_mirror(layer, scene.width) for layer in scene.layers),
        divergence=-scene.divergence,
        roll=-scene.roll,
        look=replace(scene.look, light=(gain, -across, down)),
    )


def _mirror(layer, width):
    return replace(
        layer,
        centre=(width - 1 - layer.centre[0], layer.centre[1]),
        slope=(-layer.slope[0], layer.slope[1]),
        angle=-layer.angle,
        flipped=not layer.flipped,
        velocity=(-layer.velocity[0], layer.velocity[1]),
        sway=(-layer.sway[0], layer.sway[1]),
        spin=-layer.spin,
    )


def _turn(x, y, angle):
    cos, sin = math.cos(angle), math.sin(angle)
    return x * cos - y * sin, x * sin + y * cos
