"""Measures the two ranges of depth on random scenes, with and without shimmer: `python docs/depth_range.py 20`.

Shimmer: in every frame a few single pixels are nearer or farther than everything else, as depth models give them for
snow, sand and water. Errors are in pixels of disparity at 1920 pixels width and a divergence of 2.5 in one view.
"""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

sys.path[0] = str(Path(__file__).resolve().parents[1])

from pack.depth.models import normalise
from tools.synthesis.views import with_depth

PIXELS = 2 * 0.025 * 1920  # of disparity between nearness 0 and 1
SHARES = {"no": 0.0, "some": 0.0002, "much": 0.002}  # of a frame's pixels that shimmer
BY = ("minmax", "robust")


def shimmer(depth: np.ndarray, share: float, seed: int) -> np.ndarray:  # float32 (T h w) -> same
    """The depth with that share of single pixels moved out of its range, by up to its width."""
    random = np.random.default_rng(seed)
    amount = random.uniform(0, 1, depth.shape) * random.choice([-1, 1], depth.shape)
    out = np.where(amount > 0, 1 + amount, amount)
    return np.where(random.uniform(size=depth.shape) < share, out, depth).astype(np.float32)


def draw_depth(seed: int, frames: int = 16, height: int = 144, width: int = 256) -> np.ndarray:  # -> float32 (T h w)
    """Nearness in [0, 1] of a ground that rises to the viewer and six slanted boxes, half of which move.

    The nearest is small, a third of a percent of the frame, which a robust range flattens.
    """
    random = np.random.default_rng(seed)
    depth = np.empty((frames, height, width), np.float32)
    depth[:] = np.linspace(0, random.uniform(0.3, 0.7), height)[:, None]
    for number, near in enumerate(np.sort(random.uniform(0.2, 1, 6))):
        y, x = random.integers(0, height - 50), random.integers(0, width - 60)
        tall, wide, speed = random.integers(20, 50), random.integers(10, 60), random.integers(-2, 3) * (number % 2)
        tall, wide = (12, 10) if number == 5 else (tall, wide)
        slant = near + random.uniform(-0.1, 0.1) * np.linspace(-1, 1, tall)[:, None]
        for t in range(frames):
            box = depth[t, y : y + tall, max(x + speed * t, 0) : max(x + speed * t + wide, 0)]
            box[:] = slant[: len(box)]
    return (depth - depth.min()) / (depth.max() - depth.min())


def as_in_stereo(depth: torch.Tensor, by: str) -> torch.Tensor:  # (T 1 h w) -> same
    """The nearness that `make stereo` would use of a model with this output."""
    shot = [(Fraction(t), np.zeros((8, 8, 3), np.uint8)) for t in range(len(depth))]
    return torch.cat([near for _, _, near in with_depth(shot, lambda _: depth, torch.device("cpu"), by)])


def main() -> None:
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for number in range(int(sys.argv[1])):
        drawn = draw_depth(number)
        exact = torch.from_numpy(drawn)[:, None]
        still = (exact[1:] - exact[:-1]).abs() < 1e-6
        for name, share in SHARES.items():
            noisy = torch.from_numpy(shimmer(drawn, share, number))[:, None]
            calm = noisy == exact
            for by in BY:
                for use, near in (("packing", normalise(noisy, by)), ("stereo", as_in_stereo(noisy, by))):
                    error = float((near - exact).abs()[calm].mean()) * PIXELS
                    both = still & calm[1:] & calm[:-1]
                    change = float((near[1:] - near[:-1]).abs()[both].mean()) * PIXELS if both.any() else np.nan
                    found.setdefault((use, name, by), []).append((error, change))
    print("| shimmer | range | error in packing | in stereo | change from frame to frame in stereo |")
    for name in SHARES:
        for by in BY:
            packing, stereo = (np.nanmean(np.array(found[use, name, by]), 0) for use in ("packing", "stereo"))
            print(f"| {name} | {by} | {packing[0]:.2f} | {stereo[0]:.2f} | {stereo[1]:.3f} |")


if __name__ == "__main__":
    main()
