"""How near the holes that packing simulates are to those in use, on rendered scenes whose right eye is known.

In use a warp makes the right eye of the left one and its depth. Packing has only a frame, here the true right eye with
its own depth, and has to hide the pixels that the warp would have missed there.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:  # run as a folder: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tools import cli
from tools.cli import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch


@dataclass(frozen=True)
class Config:
    """Compare the holes that packing simulates with those in use, on rendered scenes."""

    scenes: int = 16  # number of rendered scenes
    textures: tuple[str, ...] = ("clips/bikes.mp4", "clips/cityCC0.mpg")  # films that surfaces are painted with
    size: int = 384  # height and width of a scene, pixels

    def __post_init__(self):
        if self.scenes < 1 or self.size < 64:
            raise UserError("expected --scenes of 1 or more and --size of 64 or more")


def main() -> None:
    config = cli.parse(Config)
    import numpy as np

    found: dict[str, list[tuple[float, ...]]] = {}
    progress = cli.Progress(config.scenes, "scenes", "hole study")
    for number, masks in enumerate(scenes(config), 1):
        for (depth, name), (simulated, in_use) in masks.items():
            found.setdefault(f"{depth} depth, {name}", []).append(compare(simulated, in_use))
        progress.update(number)
    progress.close()
    print(f"{'':38}  area, %  area in use, %  overlap  width, px  width in use, px")
    for name, rows in found.items():
        area, used, both, either, squares, pixels, used_squares, used_pixels = np.sum(rows, 0)
        shares = f"{100 * area / len(rows):7.2f}  {100 * used / len(rows):14.2f}  {both / max(either, 1):7.3f}"
        print(f"{name:38}  {shares}  {squares / max(pixels, 1):9.1f}  {used_squares / max(used_pixels, 1):17.1f}")
    print("overlap: intersection over union; width: mean length of the run of its row that a hole pixel lies in")


def compare(simulated: "torch.Tensor", in_use: "torch.Tensor") -> tuple[float, ...]:  # bool (1 1 H W) both
    """Areas, pixels in both and in either, and of each mask the sum of its pixels' run lengths, and its pixels."""
    from tools.evaluation.quality import hole_widths

    both, either = (simulated & in_use).sum(), (simulated | in_use).sum()
    sums = [float(x) for mask in (simulated, in_use) for x in (hole_widths(mask).sum(), mask.sum())]
    return float(simulated.float().mean()), float(in_use.float().mean()), float(both), float(either), *sums


def scenes(config: Config) -> "Iterator[Mapping[tuple[str, str], tuple[torch.Tensor, torch.Tensor]]]":
    """For each scene, by (depth, way of simulating), the simulated holes of kind monobw and those in use."""
    import numpy as np
    import torch

    from pack.holes.forward import dilate_edge
    from pack.scenes.render import render, right_nearness
    from pack.sources import find_videos
    from tools.truth.degrade import degrade, draw_degradation
    from tools.truth.records import draw_view, frame_scene, margin
    from tools.truth.textures import load_textures

    textures = load_textures(find_videos(config.textures), 16, 3)
    for number in range(config.scenes):
        seed = 10**9 + number
        view = draw_view(seed, config.size, 0)
        scene = frame_scene(seed, view, textures, config.size, 1)
        rendered, side = render(scene), min(view.film_size)
        draws = np.random.default_rng(number)
        eyes = (rendered.nearness, right_nearness(scene))
        pairs = {"exact": tuple(torch.from_numpy(one)[:, None] for one in eyes)}
        pairs["degraded"] = tuple(
            dilate_edge(degrade(eye, side, draw_degradation(draws, seed + n)), 2) for n, eye in enumerate(eyes)
        )
        part = slice(margin(view), margin(view) + config.size)
        how = rendered.nearness.shape[1:], 2 * rendered.divergence, rendered.convergence
        yield {
            (kind, name): (mask[..., part], holes_in_use(left, *how)[..., part])
            for kind, (left, right) in pairs.items()
            for name, mask in simulate(right, *how).items()
        }


def simulate(
    depth: "torch.Tensor", size: tuple[int, int], strength: float, convergence: float
) -> "dict[str, torch.Tensor]":  # (1 1 h w) -> bool (1 1 H W) by name
    """The holes that ways of simulating them find from the depth of the frame itself."""
    from pack.holes.forward import half_holes
    from pack.holes.monobw import backward_warp, moved_holes
    from pack.pipeline import fit

    left, _ = backward_warp(depth, depth, strength, convergence, clear=0)
    return {
        "moved (packing)": moved_holes(depth, size, strength, convergence, clear=0),
        "there and back by monobw": holes_in_use(left, size, strength, convergence),
        "forward warp": half_holes(fit(depth, size), strength, convergence, "right").bool(),
    }


def holes_in_use(
    depth: "torch.Tensor", size: tuple[int, int], strength: float, convergence: float
) -> "torch.Tensor":  # (1 1 h w) of the left eye -> bool (1 1 H W) of the right eye
    """The holes of the right eye that monobw makes, before they are grown."""
    import torch

    from tools.synthesis.warps import right_eye

    return right_eye("monobw", torch.zeros(1, 1, *size), depth, strength, convergence, is_part=True)[1]


if __name__ == "__main__":
    cli.run(main)
