"""Measures the two ranges of depth on random scenes, with and without shimmer: `python docs/depth_range.py 20`.

`python docs/depth_range.py a.mp4 b.mp4` measures them on films, with the depth model that needs no download.

Shimmer: in every frame a few single pixels are nearer or farther than everything else, as depth models give them for
snow, sand and water. Errors are in pixels of disparity at 1920 pixels width and a divergence of 2.5 in one view.
"""

import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import torch

sys.path[0] = str(Path(__file__).resolve().parents[1])

from pack.depth.models import load_depth, normalise
from pack.depth.steadiness import still_change
from pack.video.shot_reader import read_shots
from tools.synthesis.views import HOP, INERTIA, frame_range, raw_windows, with_depth

PIXELS = 2 * 0.025 * 1920  # of disparity between nearness 0 and 1
SHARES = {"no": 0.0, "some": 0.0002, "much": 0.002}  # of a frame's pixels that shimmer
BY = ("minmax", "robust")
FRAMES, START, SHORT = 100, 12, 36  # of a shot: used, called its start, and those that it needs
RESOLUTION = 128  # of the depth model


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


def read_depth(film: Path) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Of each shot its frames at the size of the depth (T 3 h w), and raw nearness (T 1 h w)."""
    model = load_depth("Motion", RESOLUTION, torch.device("cpu"))
    for shot in read_shots(film):
        parts = [part for window in raw_windows(islice(shot, FRAMES), model, "cpu") for part in window]
        if len(parts) < SHORT:
            continue
        raw = torch.cat([depth for _, _, depth in parts])
        size = raw.shape[-2:]
        small = [torch.nn.functional.interpolate(frame, size, mode="area") for _, frame, _ in parts]
        yield torch.cat(small), raw


def followed(raw: torch.Tensor, by: str) -> torch.Tensor:  # (T 1 h w) -> same
    """Nearness with the range that `make stereo` follows over the frames."""
    low, high = frame_range(raw[:HOP], by)
    near = []
    for depth in raw.split(1):
        lowest, highest = frame_range(depth, by)
        low, high = torch.lerp(lowest, low, INERTIA), torch.lerp(highest, high, INERTIA)
        near.append(((depth - low) / (high - low).clamp(min=1e-6)).clamp(0, 1))
    return torch.cat(near)


def spread(near: torch.Tensor) -> float:  # (T 1 h w)
    """The mean distance of the percentiles 5 and 95 of the frames."""
    low, high = torch.quantile(near.flatten(1), torch.tensor([0.05, 0.95]), 1)
    return float((high - low).mean())


def measure_films(films: list[Path]) -> None:
    """Print the table of both ranges, followed over the frames and of the whole shot."""
    print("| film | range | spread at the start | later | change on still pixels | the same, % of the spread |")
    for film in films:
        rows: dict[str, list[tuple[float, float, float]]] = {}
        for frames, raw in read_depth(film):
            ways = {f"{by}, followed": followed(raw, by) for by in BY}
            ways |= {f"{by} of the shot": normalise(raw, by) for by in BY}
            for name, near in ways.items():
                change, still = still_change(frames, near)
                one = spread(near[:START]), spread(near[START:]), change / max(still, 1)
                rows.setdefault(name, []).append(one)
        for name, values in rows.items():
            start, later, change = PIXELS * np.array(values).mean(0)
            print(f"| {film.stem} | {name} | {start:.1f} | {later:.1f} | {change:.2f} | {100 * change / later:.2f} |")


def main() -> None:
    if not sys.argv[1].isdigit():
        measure_films([Path(word) for word in sys.argv[1:]])
        return
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
