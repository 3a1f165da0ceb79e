"""A scene whose two eyes are known exactly: a textured ground and a rectangle before it, at whole-pixel disparities."""

import numpy as np

from tools.stereo_truth.compare import Scene

FRAMES = 16


def flat_scene(
    seed: int = 0,
    height: int = 96,
    width: int = 160,
    shift: int = 8,
    texture: float = 0.2,
    level: float = 0.5,
    move: int = 1,
) -> Scene:
    """The rectangle (nearness 1) stands `shift` px to the left in the right eye; the ground (nearness 0) stays.

    `texture` is the amplitude of the ground's pattern around `level`; the rectangle moves `move` px a frame.
    """
    rng = np.random.default_rng(seed)
    ground = smooth_noise(rng, height, width) * texture + level
    front = smooth_noise(rng, height, width) * 0.3 + np.array([0.8, 0.3, 0.2])
    left, right, nearness, uncovered = [], [], [], []
    y = slice(height // 4, 3 * height // 4)
    for t in range(FRAMES):
        x = width // 3 + move * t
        here, there = slice(x, x + width // 4), slice(x - shift, x - shift + width // 4)
        one, other = ground.copy(), ground.copy()
        one[y, here] = other[y, there] = front[y, : width // 4]
        near, gone = np.zeros((height, width), np.float32), np.zeros((height, width), bool)
        near[y, here] = 1
        gone[y, here] = True
        gone[y, there] = False
        for eyes, value in ((left, one), (right, other), (nearness, near), (uncovered, gone)):
            eyes.append(value)
    eyes = [(np.stack(eye).clip(0, 1) * 255).round().astype(np.uint8) for eye in (left, right)]
    strength = 100 * shift / max(height, width)  # of which nearness 1 moves by `shift` where convergence is 0
    masks = np.stack(nearness), np.stack(uncovered)
    return Scene(f"flat {seed}", seed, *eyes, *masks, strength, 0.0, strength=strength)


def smooth_noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:  # (H W 3) in [-1, 1]
    """Noise of about 4 px a bump."""
    noise = rng.uniform(-1, 1, (height // 4 + 2, width // 4 + 2, 3))
    rows, columns = np.arange(height) / 4, np.arange(width) / 4
    y, x = rows.astype(int), columns.astype(int)
    fy, fx = (rows - y)[:, None, None], (columns - x)[None, :, None]
    top = noise[y][:, x] * (1 - fx) + noise[y][:, x + 1] * fx
    below = noise[y + 1][:, x] * (1 - fx) + noise[y + 1][:, x + 1] * fx
    return top * (1 - fy) + below * fy
