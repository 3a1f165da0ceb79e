"""Outlines of foregrounds: pictures of how much each pixel is covered, 0..255.

Drawn several times as large with PIL and shrunk. Every shape has a border of
nothing around it.
"""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

FINER = 3  # times as large as the shape is drawn before it is shrunk
Random = np.random.Generator
Draw = Callable[[ImageDraw.ImageDraw, float, float, Random], None]


def draw_shape(kind: str, height: int, width: int, softness: float, random: Random) -> np.ndarray:  # uint8 (h w)
    """A shape of this kind, its edges blurred by a Gaussian of `softness` pixels."""
    border = math.ceil(3 * softness) + 2
    canvas = Image.new("L", (FINER * width, FINER * height), 0)
    SHAPES[kind](ImageDraw.Draw(canvas), FINER * width, FINER * height, random)
    small = canvas.resize((width, height), Image.Resampling.BOX)
    framed = Image.new("L", (width + 2 * border, height + 2 * border), 0)
    framed.paste(small, (border, border))
    if softness > 0:
        framed = framed.filter(ImageFilter.GaussianBlur(softness))
    return np.array(framed)


def _blob(pen, width, height, random):
    """A closed curve around the middle, of a few waves."""
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    radius = np.ones_like(angles)
    for wave in range(2, 8):
        radius += random.uniform(0, 0.9 / wave) * np.cos(wave * angles + random.uniform(0, 2 * np.pi))
    radius /= radius.max()
    pen.polygon(_points(0.5 + 0.49 * radius * np.cos(angles), 0.5 + 0.49 * radius * np.sin(angles), width, height), 255)


def _polygon(pen, width, height, random):
    angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(3, 8)))
    pen.polygon(_points(0.5 + 0.48 * np.cos(angles), 0.5 + 0.48 * np.sin(angles), width, height), 255)


def _box(pen, width, height, random):
    pen.rounded_rectangle((0, 0, width - 1, height - 1), random.uniform(0, 0.3) * min(width, height), 255)


def _ellipse(pen, width, height, random):
    pen.ellipse((0, 0, width - 1, height - 1), 255)


def _ring(pen, width, height, random):
    """A shape with holes in it."""
    (_blob if random.random() < 0.5 else _box)(pen, width, height, random)
    for _ in range(random.integers(1, 6)):
        x, y = random.uniform(0.2, 0.8, 2) * (width, height)
        rx, ry = random.uniform(0.05, 0.22, 2) * (width, height)
        (pen.ellipse if random.random() < 0.6 else pen.rectangle)((x - rx, y - ry, x + rx, y + ry), 0)


def _figure(pen, width, height, random):
    """A head with hair on shoulders, sometimes with arms and legs."""
    whole = random.random() < 0.5
    top, neck = (0.2, 0.3) if whole else (0.45, 0.6)
    lean = random.uniform(0.42, 0.58)
    radius = top * random.uniform(0.42, 0.5) * height
    head = (lean * width, (0.06 + top / 2) * height)
    _limb(pen, [head, (0.5 * width, neck * height)], 0.9 * radius)
    shoulders = random.uniform(0.24, 0.46) * width
    hips = 0.62 if whole else 1
    pen.polygon(
        [
            (0.5 * width - shoulders, (neck + 0.05) * height),
            (0.5 * width - 0.4 * radius, (neck - 0.03) * height),
            (0.5 * width + 0.4 * radius, (neck - 0.03) * height),
            (0.5 * width + shoulders, (neck + 0.05) * height),
            (0.5 * width + 0.8 * shoulders, hips * height),
            (0.5 * width - 0.8 * shoulders, hips * height),
        ],
        255,
    )
    if whole:
        for side in (-1, 1):
            hip, foot = 0.4 * shoulders, random.uniform(0, 0.4) * width
            joints = [(0.5 * width + side * hip, hips * height), (0.5 * width + side * foot, 0.98 * height)]
            _limb(pen, joints, 0.5 * shoulders)
            hand = (0.5 * width + side * random.uniform(0.3, 0.48) * width, random.uniform(0.2, 0.7) * height)
            _limb(pen, [(0.5 * width + side * shoulders, (neck + 0.08) * height), hand], 0.3 * shoulders)
    x, y = head
    pen.ellipse((x - 0.8 * radius, y - radius, x + 0.8 * radius, y + radius), 255)
    _strands(pen, head, radius, int(random.integers(0, 60)), 0.9, random)


def _strands(pen, root, radius, count, length, random):
    """Hairs from around a place, each a bent line of about a pixel."""
    for _ in range(count):
        angle = random.uniform(-math.pi, 0)
        bend = random.normal(0, 0.5)
        steps = np.linspace(0.6, 1 + length * random.random(), 8)
        x = root[0] + radius * steps * np.cos(angle + bend * (steps - 0.6))
        y = root[1] + radius * steps * np.sin(angle + bend * (steps - 0.6))
        pen.line(list(zip(x.tolist(), y.tolist(), strict=True)), 255, int(random.integers(2, 6)))


def _hair(pen, width, height, random):
    """A tuft: many thin strands that leave one side."""
    for _ in range(random.integers(25, 120)):
        x, steps = random.uniform(0.25, 0.75), np.linspace(0, 1, 12)
        lean, curl = random.normal(0, 0.3), random.uniform(0, 0.05)
        path = x + lean * steps**2 + curl * np.sin(steps * random.uniform(3, 12))
        tall = random.uniform(0.4, 1)
        pen.line(_points(path, 1 - tall * steps, width, height), 255, int(random.integers(2, 8)))
    pen.ellipse((0.2 * width, 0.8 * height, 0.8 * width, 1.2 * height), 255)


def _poles(pen, width, height, random):
    """Upright or slanting lines, from a wire to a lamp post."""
    for _ in range(random.integers(1, 5)):
        x, lean = random.uniform(0.1, 0.9), random.normal(0, 0.15)
        thick = int(FINER * random.choice([1, 2, 3, 5, 8, 14]))
        pen.line([(x * width, 0), ((x + lean) * width, height)], 255, thick)


def _fence(pen, width, height, random):
    """Bars across each other, with holes between them."""
    across, down = random.integers(3, 10), random.integers(1, 7)
    thick = int(FINER * random.integers(2, 9))
    tilt = random.uniform(-0.15, 0.15) * width
    for i in range(across):
        x = (i + 0.5) / across * width
        pen.line([(x - tilt, 0), (x + tilt, height)], 255, thick)
    for j in range(down):
        y = (j + 0.5) / down * height
        pen.line([(0, y), (width, y + 0.3 * tilt)], 255, thick)


def _leaves(pen, width, height, random):
    """A branch with leaves: many small ellipses along bent twigs."""
    for _ in range(random.integers(2, 6)):
        start, end = random.uniform(0, 1, 2), random.uniform(0, 1, 2)
        steps = np.linspace(0, 1, random.integers(8, 25))
        bow = random.normal(0, 0.2)
        x = (start[0] + (end[0] - start[0]) * steps + bow * np.sin(np.pi * steps)) * width
        y = (start[1] + (end[1] - start[1]) * steps) * height
        pen.line(list(zip(x.tolist(), y.tolist(), strict=True)), 255, int(FINER * random.integers(1, 4)))
        for px, py in zip(x.tolist(), y.tolist(), strict=True):
            angle, long = random.uniform(0, 2 * np.pi), random.uniform(0.03, 0.1) * max(width, height)
            t = np.linspace(0, 2 * np.pi, 16)
            lx, ly = long * (1 + np.cos(t)) / 2, 0.3 * long * np.sin(t)
            leaf_x = px + lx * math.cos(angle) - ly * math.sin(angle)
            leaf_y = py + lx * math.sin(angle) + ly * math.cos(angle)
            pen.polygon(list(zip(leaf_x.tolist(), leaf_y.tolist(), strict=True)), 255)


def _limb(pen, joints, thick):
    pen.line(joints, 255, max(1, int(thick)))
    for x, y in joints:
        pen.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), 255)


def _points(x, y, width, height):
    return list(zip((x * width).tolist(), (y * height).tolist(), strict=True))


SHAPES: dict[str, Draw] = {
    "blob": _blob,
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
    "ring": _ring,
    "figure": _figure,
    "hair": _hair,
    "poles": _poles,
    "fence": _fence,
    "leaves": _leaves,
}
