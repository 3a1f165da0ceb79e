"""Rendered scenes for evaluation, drawn as those of `make truth` are, of seeds that training does not draw."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pack.pipeline import LEAST_HOLES
from pack.scenes.layers import Scene as Layered
from pack.scenes.render import render
from tools.evaluation.network_fill import STREAM
from tools.stereo_truth.compare import Scene
from tools.truth.records import ATTEMPTS, draw_view, frame_scene, margin
from tools.truth.textures import find_sources, load_textures

FIRST_SEED = 10**15  # beyond those of `make truth`
TEXTURES = 48  # pictures that surfaces are painted with


def render_scenes(sources: Sequence[str], count: int, size: int, seed: int) -> Iterator[Scene]:
    """`count` scenes with textures of these sources, see `find_sources`: the same for the same arguments.

    Raises MissingFile for a source that names none, UserError for one that cannot be read.
    """
    textures = load_textures(find_sources(sources), TEXTURES, seed)
    return (render_scene(1000 * seed + number, number, textures, size) for number in range(count))


def render_scene(draw: int, number: int, textures: Sequence[np.ndarray], size: int) -> Scene:
    """The first scene of a draw that uncovers enough in its middle frame, else the last one."""
    for attempt in range(ATTEMPTS):
        seed = FIRST_SEED + draw * ATTEMPTS + attempt
        view = draw_view(seed, size, 0)
        scene = frame_scene(seed, view, textures, size, STREAM)
        side = margin(view)
        uncovered = render(replace(scene, frames=1)).uncovered[:, :, side : side + size].sum()
        if uncovered >= LEAST_HOLES * (size / 512) ** 2:
            break
    eyes = render(scene)
    return Scene(
        f"scene {number}",
        seed,
        eyes.left,
        eyes.right,
        eyes.nearness,
        eyes.uncovered,
        eyes.divergence,
        eyes.convergence,
        softness(scene),
        view.divergence,
        view.film_size,
        side,
    )


def softness(scene: Layered) -> float:
    """Mean width in pixels over which the shapes' borders are half transparent; nan for a scene without shapes.

    That is the area of what is neither transparent nor opaque by the length of the outlines, which are the pairs of
    neighbours that half of the coverage parts.
    """
    area = outline = 0.0
    for layer in scene.layers:
        if layer.coverage is not None:
            most = layer.coverage.max()
            covered = layer.coverage >= most / 2
            area += layer.cell**2 * float(((layer.coverage > 0) & (layer.coverage < most)).sum())
            pairs = (covered[:, 1:] != covered[:, :-1]).sum() + (covered[1:] != covered[:-1]).sum()
            outline += layer.cell * float(pairs)
    return area / outline if outline else float("nan")
