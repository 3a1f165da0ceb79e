"""Draws scenes at random: grounds and walls, many foregrounds, a moving camera, and degradations of film.

All lengths are drawn as shares of the picture's shorter side, so that small scenes look like large ones.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFilter

from pack.scenes.layers import FAR, Layer, Look, Scene
from pack.scenes.render import LEAST_RANGE
from pack.scenes.shapes import draw_shape
from tools.cli import UserError

VERSION = 1  # raised whenever the same seed gives another picture
STRENGTHS = (1, 1.5, 2, 2.5, 2.5, 3, 4, 5)  # percent, as iw3's users choose them
STEEPEST = 0.3  # of a pixel, by which the other eye squeezes or stretches neighbouring pixels of a surface
LEAST_BLUR = 1.0  # pixels: less cannot be seen, and each exposure takes the time of a frame
LARGEST_TEXTURE = 768  # pixels of a side
KINDS = ("blob", "blob", "polygon", "box", "ellipse", "ring", "figure", "figure", "figure", "hair", "poles", "fence")
KINDS += ("leaves", "leaves")
Random = np.random.Generator


def draw_scene(
    seed: int,
    textures: Sequence[np.ndarray],
    height: int,
    width: int,
    frames: int = 16,
    divergence: float | None = None,
) -> Scene:  # textures: uint8 (h w 3)
    """The scene of a seed: a pure function of its arguments.

    divergence is in percent of the longer side, drawn where it is not given. Raises UserError without textures.
    """
    if not textures:
        raise UserError("a scene needs at least 1 texture, found none: name videos to cut them from")
    random = np.random.Generator(np.random.PCG64([seed, 0]))
    strength = _draw_strength(random)
    divergence = strength if divergence is None else divergence
    look, contrast = _draw_look(random)
    steepest = STEEPEST * LEAST_RANGE / max(divergence * 0.01 * max(height, width), 1)
    stage = _Stage(random, textures, height, width, steepest, contrast)
    layers = stage.background()
    if random.random() < 0.94:
        count = int(random.choice([1, 1, 2, 3, 4, 5, 6, 8, 10, 14]))
        layers += [stage.foreground() for _ in range(count)]
    layers = stage.move(layers, frames)
    roll = random.normal(0, 0.004) if random.random() < 0.25 else 0.0
    if look.shutter * max(_speed(layer) + abs(roll) * width / 2 for layer in layers) < LEAST_BLUR:
        look = replace(look, shutter=0.0, exposures=1)
    convergence = float(random.choice([0, 0.5, 1])) if random.random() < 0.7 else float(random.random())
    return Scene(seed, height, width, frames, tuple(layers), float(divergence), convergence, roll, look)


def _speed(layer):
    """The most pixels a frame by which a layer's centre moves."""
    return math.hypot(*layer.velocity) + math.hypot(*layer.sway) * 2 * math.pi / layer.period


def _draw_strength(random):
    typical, other = float(random.choice(STRENGTHS)), float(random.uniform(0.5, 6))
    return typical if random.random() < 0.7 else other


def _draw_look(random: Random) -> tuple[Look, float]:
    """The degradations of film, and the contrast of all textures."""
    u = random.random(8)
    look = Look(
        shutter=random.uniform(0.2, 0.6) if u[0] < 0.15 else 0.0,
        exposures=int(random.choice([3, 3, 5])) if u[0] < 0.15 else 1,
        light=(random.uniform(0.75, 1.15), 0.0, 0.0),
        fade=random.normal(0, 0.008) if u[1] < 0.3 else 0.0,
        flicker=random.uniform(0, 0.03) if u[2] < 0.15 else 0.0,
        noise=random.uniform(0.5, 6) if u[3] < 0.5 else 0.0,
        quality=int(random.integers(45, 96)) if u[4] < 0.4 else None,
    )
    return look, random.uniform(0.15, 0.5) if u[5] < 0.25 else random.uniform(0.7, 1.1)


class _Stage:
    """Where layers are drawn: the size of the picture, and what all layers of a scene share."""

    def __init__(self, random, textures, height, width, steepest, contrast):
        self.random, self.textures, self.contrast = random, textures, contrast
        self.height, self.width, self.side = height, width, min(height, width)
        self.steepest = steepest  # slope of nearness, per pixel
        self.base = random.uniform(60, 170)  # brightness towards which low contrast goes
        self.alike = random.random() < 0.3  # foregrounds painted with the picture of the background
        self.far = random.uniform(0, 0.35)  # nearness of the background
        self.painting = self._choose()

    def background(self) -> list[Layer]:
        """A wall, or a wall behind a slanted or curved ground, or one slanted or curved surface."""
        random = self.random
        kind = random.choice(["wall", "wall", "ground", "ground", "slanted", "curved"])
        middle = ((self.width - 1) / 2, (self.height - 1) / 2)
        texture = self._texture(self.painting, random.uniform(0, 2) if random.random() < 0.3 else 0)
        grain = max(1.0, self.side / texture.shape[0]) * random.uniform(0.8, 1.5)
        origin = tuple(random.random(2) * texture.shape[1::-1])
        wall = Layer(texture, None, middle, self.far, grain=grain, origin=origin, angle=random.normal(0, 0.05))
        steep = min(0.5 / self.side, self.steepest)
        if kind == "slanted":
            slope = (random.uniform(-1, 1) * steep, random.uniform(-0.3, 1) * steep)
            return [replace(wall, nearness=self.far + 0.15, slope=slope)]
        if kind == "curved":
            bend = tuple(random.uniform(-0.6, 0.6, 2) * steep / self.side)
            return [replace(wall, nearness=self.far + 0.15, bend=bend)]
        return [wall] if kind == "wall" else [wall, self._ground()]

    def _ground(self):
        """A floor that comes nearer below the horizon; it may be curved."""
        random = self.random
        texture = self._texture(self._choose(), 0)
        horizon = random.uniform(0.3, 0.75) * self.height
        rise = random.uniform(0.3, 1.0) * (1 - self.far) / (self.height - horizon)
        centre_y = (horizon + self.height) / 2
        return Layer(
            texture,
            None,
            ((self.width - 1) / 2, centre_y),
            self.far + rise * (centre_y - horizon),
            slope=(random.normal(0, 0.2) * self.steepest, rise),
            bend=(0, random.uniform(-0.3, 0.3) * rise / self.height if random.random() < 0.4 else 0),
            grain=max(1.0, self.side / texture.shape[0]) * random.uniform(0.7, 1.4),
            origin=tuple(random.random(2) * texture.shape[1::-1]),
        )

    def foreground(self) -> Layer:
        """A cut-out picture somewhere between the background and the viewer."""
        random = self.random
        kind = str(random.choice(KINDS))
        size = self.side * math.exp(random.uniform(math.log(0.08), math.log(1.1)))
        high = max(12, int(size))
        wide = max(12, int(size * math.exp(random.normal(-0.3 if kind == "figure" else 0, 0.35))))
        softness = self._draw_softness()
        coverage = draw_shape(kind, high, wide, softness, random)
        if random.random() < 0.05:
            coverage = (coverage * random.uniform(0.4, 0.9)).astype(np.uint8)  # glass or smoke
        nearness = random.uniform(min(self.far + 0.08, 0.9), 1)
        reach = max(coverage.shape) / 2
        steep = min(self.steepest, 0.2 * (nearness + FAR) / reach)
        slope = tuple(random.uniform(-1, 1, 2) * steep) if random.random() < 0.5 else (0.0, 0.0)
        bend = (-random.uniform(0, 1) * steep / (2 * reach),) * 2 if random.random() < 0.3 else (0.0, 0.0)
        texture = self._texture(self.painting if self.alike else self._choose(), softness - 0.7)
        return Layer(
            texture,
            coverage,
            tuple(random.uniform(0, 1, 2) * (self.width, self.height)),
            nearness,
            slope,
            bend,
            cell=random.uniform(0.9, 1.1),
            grain=random.uniform(0.7, 2.0),
            origin=tuple(random.random(2) * texture.shape[1::-1]),
            angle=random.normal(0, 0.15) if kind == "figure" else random.uniform(-math.pi, math.pi),
            flipped=bool(random.random() < 0.5),
        )

    def move(self, layers: Sequence[Layer], frames: int) -> list[Layer]:
        """The layers with the camera's movement, which near ones show more, and with their own."""
        random, side = self.random, self.side
        pan = random.normal(0, 0.006, 2) * side * (1, 0.4) if random.random() < 0.8 else np.zeros(2)
        dolly = random.normal(0, 0.006) if random.random() < 0.4 else 0.0
        middle = np.array([(self.width - 1) / 2, (self.height - 1) / 2])
        moved = []
        for layer in layers:
            parallax = (layer.nearness + FAR) / (0.5 + FAR)
            velocity = -pan * parallax + dolly * parallax * (np.array(layer.centre) - middle)
            layer = replace(layer, velocity=tuple(velocity), approach=dolly * parallax * (layer.nearness + FAR))
            if layer.coverage is not None and random.random() < 0.7:
                layer = self._animate(layer, velocity, frames)
            moved.append(layer)
        return moved

    def _animate(self, layer, velocity, frames):
        random, side = self.random, self.side
        own = random.normal(0, 0.008, 2) * side * (1, 0.5)
        centre = np.array(layer.centre) - own * frames / 2  # in the picture in the middle of the clip
        sways = random.random() < 0.4
        return replace(
            layer,
            centre=tuple(centre),
            velocity=tuple(velocity + own),
            sway=tuple(random.normal(0, 0.02, 2) * side) if sways else (0.0, 0.0),
            period=random.uniform(10, 60),
            phase=random.uniform(0, 2 * math.pi),
            spin=random.normal(0, 0.02) if random.random() < 0.4 else 0.0,
            approach=layer.approach + (random.normal(0, 0.003) if random.random() < 0.3 else 0.0),
        )

    def _draw_softness(self):
        """Gaussian sigma of an edge, pixels: sharp, as lenses give them, out of focus, or a wide transparent border."""
        low, high = [(0.0, 0.4), (0.4, 1.2), (1.2, 3.0), (3.0, 8.0)][self.random.choice(4, p=[0.3, 0.45, 0.18, 0.07])]
        return self.random.uniform(low, high)

    def _choose(self):
        return self.textures[int(self.random.integers(len(self.textures)))]

    def _texture(self, picture, blur):
        """A piece of a picture with the scene's contrast, blurred as by defocus."""
        random = self.random
        height, width = (min(size, LARGEST_TEXTURE) for size in picture.shape[:2])
        y, x = (int(random.integers(a - b + 1)) for a, b in zip(picture.shape[:2], (height, width), strict=True))
        piece = picture[y : y + height, x : x + width].astype(np.float32)
        tint = random.normal(0, 8, 3) * self.contrast
        piece = self.base + (piece - self.base) * self.contrast + tint.astype(np.float32)
        piece = np.rint(piece.clip(0, 255)).astype(np.uint8)
        if blur > 0.3:
            piece = np.array(Image.fromarray(piece).filter(ImageFilter.GaussianBlur(blur)))
        return piece
