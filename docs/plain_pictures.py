"""Draws pictures of few colours, for scenes in which a halo around a foreground is seen.

    .venv/bin/python docs/plain_pictures.py photos/plain 240

Textures of films and photos are mostly rough, and a network that smears a foreground's colour into a hole loses
little on them. These are smooth: two colours that fade into each other, or soft patches and stripes of them, with
slight grain.
"""

import colorsys
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 320, 480  # height, width


def main() -> None:
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(draw(np.random.default_rng(number))).save(folder / f"{number:03d}.png")
    print(f"{folder}: {count} pictures")


def draw(random: np.random.Generator) -> np.ndarray:  # -> uint8 (H W 3)
    """A picture of two colours."""
    first, second = colour(random), colour(random)
    if random.random() < 0.5:  # nearly one colour
        second = first + (second - first) * 0.15
    share = random.choice([fade, patches, stripes])(random)[..., None]
    picture = first + (second - first) * share
    picture += random.normal(0, random.choice([0, 0.005, 0.015]), (*SIZE, 1))
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def colour(random: np.random.Generator) -> np.ndarray:  # -> (3) in [0, 1]
    return np.array(colorsys.hsv_to_rgb(random.random(), random.random(), random.uniform(0.1, 1)))


def fade(random):  # -> (H W) in [0, 1]
    y, x = np.mgrid[-1 : 1 : SIZE[0] * 1j, -1 : 1 : SIZE[1] * 1j]
    angle = random.uniform(0, 2 * np.pi)
    return (0.5 + 0.35 * (np.cos(angle) * x + np.sin(angle) * y)).clip(0, 1)


def patches(random):
    cells = random.integers(3, 14, 2)
    noise = Image.fromarray(random.random(cells).astype(np.float32)).resize(SIZE[::-1], Image.Resampling.BICUBIC)
    return np.asarray(noise).clip(0, 1)


def stripes(random):
    waves = fade(random) * random.uniform(4, 30)
    return 0.5 + 0.5 * np.clip(np.sin(2 * np.pi * waves) * random.uniform(1, 6), -1, 1)


if __name__ == "__main__":
    main()
