"""Rendered scenes for evaluation: where their textures come from, and how they become what is compared."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pack.scenes.render import render
from pack.scenes.scene import draw_scene
from pack.scenes.textures import load_textures
from tools.cli import MissingFile, UserError
from tools.stereo_truth.compare import Scene

FILMS = (".mp4", ".mkv", ".mov", ".mpg", ".mpeg", ".avi", ".webm", ".m4v", ".ts")
FIRST_SEED = 1_000_000_000  # scenes of evaluation are none that `make truth` draws for training
TEXTURES = 48  # pictures that the scenes are cut from


def list_films(sources: Sequence[str]) -> list[Path]:
    """The films among these files and in these folders. Raises UserError where there is none."""
    films = []
    for source in map(Path, sources):
        if not source.exists():
            raise MissingFile(f"{source} is not there: pass --textures with films, or folders of films, that exist")
        found = [source] if source.is_file() else sorted(p for p in source.iterdir() if p.suffix.lower() in FILMS)
        if not found:
            raise UserError(f"{source} holds no film ({', '.join(FILMS)}): pass --textures with films or their folder")
        films += found
    return films


def render_scenes(sources: Sequence[str], count: int, height: int, width: int, seed: int) -> Iterator[Scene]:
    """`count` scenes with textures of these films, the same for the same arguments."""
    textures = load_textures(list_films(sources), TEXTURES, seed)
    for number in range(count):
        yield render_scene(FIRST_SEED + 1000 * seed + number, textures, height, width)


def render_scene(seed: int, textures: Sequence[np.ndarray], height: int, width: int) -> Scene:
    """The scene of a seed."""
    scene = draw_scene(seed, textures, height, width)
    eyes = render(scene)
    return Scene(
        f"scene {seed - FIRST_SEED}",
        seed,
        eyes.left,
        eyes.right,
        eyes.nearness,
        eyes.uncovered,
        eyes.divergence,
        eyes.convergence,
        softness([layer.coverage for layer in scene.layers if layer.coverage is not None]),
        eyes.outside,
    )


def softness(coverages: Sequence[np.ndarray]) -> float:  # uint8 (h w), 255 opaque
    """Mean width in cells over which these shapes' borders are neither transparent nor opaque; nan for no shapes.

    That is the number of such cells by the length of the outlines, the pairs of neighbours that half coverage parts.
    """
    cells = outline = 0
    for coverage in coverages:
        covered = coverage >= coverage.max() / 2
        cells += int(((coverage > 0) & (coverage < coverage.max())).sum())
        outline += int((covered[:, 1:] != covered[:, :-1]).sum() + (covered[1:] != covered[:-1]).sum())
    return cells / outline if outline else float("nan")
