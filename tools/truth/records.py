"""One record of a rendered scene: the eye as a warp makes it, and inside its holes the true one.

T frames, H height and W width of the rendered area: the record with a margin on its left and right, so that nothing in
the record depends on a border of the film.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from model.mask_mlbw import MaskMLBW
from model.morphology import INNER_DILATION, OUTER_DILATION
from pack.holes.forward import dilate_edge
from pack.holes.kinds import FORWARD, MASKS, Shares, choose_kind
from pack.pipeline import LEAST_HOLES
from pack.scenes.layers import Scene
from pack.scenes.render import Rendered, render
from pack.scenes.scene import VERSION, draw_scene
from pack.shards.record import Record
from tools.synthesis.warps import grown, right_eye
from tools.truth.degrade import MODEL_SIDE, Degradation, degrade, draw_degradation

STRENGTHS = (1, 1.5, 2, 2.5, 2.5, 3, 4, 5)  # percent of the film's width, as users choose them
STRONGEST = 8
FILM_SIZES = ((1280, 720), (1280, 720), (1920, 1080))  # width and height of the film that a record is a part of
WIDEST_SHIFT = 0.25  # of the record's side
FORWARD_ALONE = {FORWARD: 1.0}
ATTEMPTS = 12  # scenes that are drawn until one has holes


@dataclass(frozen=True)
class View:
    """How the other eye of one record is made."""

    film_size: tuple[int, int]  # width, height
    divergence: float  # percent of the film's width
    edge_dilation: int  # rounds
    inner: int  # pixels of the depth map by which holes grow to the left
    outer: int  # and to the right
    degradation: Degradation | None  # None: exact depth
    warp: str = FORWARD  # one of pack.holes.kinds

    @property
    def shift(self) -> float:
        """Pixels by which nearness 1 moves further than nearness 0."""
        return self.divergence * 0.01 * self.film_size[0]


def draw_view(scene_seed: int, size: int, degraded: float, warps: Shares = FORWARD_ALONE) -> View:
    """How the record of a scene is made; `degraded` is the share of records with a depth model's depth."""
    random = np.random.Generator(np.random.PCG64([scene_seed, 4]))
    film_size = FILM_SIZES[int(random.integers(len(FILM_SIZES)))]
    strength = float(random.choice(STRENGTHS)) if random.random() < 0.7 else float(random.uniform(0.5, STRONGEST))
    strength = round(min(strength, 100 * WIDEST_SHIFT * size / film_size[0]), 4)
    inner, outer = INNER_DILATION, OUTER_DILATION
    if random.random() >= 0.6:
        inner, outer = int(random.integers(0, 3)), int(random.integers(0, 5))
    is_degraded = random.random() < degraded
    rounds = (2, 2, 2, 1, 0, 3) if is_degraded else (0, 0, 0, 1, 2, 2)
    return View(
        film_size,
        strength,
        int(random.choice(rounds)),
        inner,
        outer,
        draw_degradation(random, scene_seed) if is_degraded else None,
        choose_kind(warps, np.random.Generator(np.random.PCG64([scene_seed, 5])).random()),
    )


def frame_scene(scene_seed: int, view: View, textures: Sequence[np.ndarray], size: int, frames: int) -> Scene:
    """The scene of a record with its margins."""
    width = size + 2 * margin(view)
    return draw_scene(scene_seed, textures, size, width, frames, 100 * view.shift / width)


def margin(view: View) -> int:
    """Pixels rendered on both sides of a record."""
    return 8 * math.ceil((view.shift + 12) / 8)


def make_record(
    clip: int,
    seed: int,
    textures: Sequence[np.ndarray],
    size: int,
    frames: int,
    degraded: float,
    warps: Shares = FORWARD_ALONE,
    network: MaskMLBW | None = None,
) -> Record | None:
    """The record of a clip number: of the first of its scenes that has holes enough, or None.

    `warps` are the shares of the warps that make the eyes; the learned one needs its `network`.
    """
    for attempt in range(ATTEMPTS):
        scene_seed = (seed * 1_000_000 + clip) * ATTEMPTS + attempt
        view = draw_view(scene_seed, size, degraded, warps)
        scene = frame_scene(scene_seed, view, textures, size, frames)
        least = LEAST_HOLES * (size / 512) ** 2
        side = margin(view)
        if render(replace(scene, frames=1)).uncovered[:, :, side : side + size].sum() < least:
            continue
        rendered = render(scene)
        record = build(f"truth_{seed}_{clip}", rendered, view, size, network)
        if (record.masks > 0).sum() > least * frames:
            info = describe(scene_seed, scene, view, size) | record.info
            return replace(record, info=info)
    return None


@torch.inference_mode()
def build(key: str, rendered: Rendered, view: View, size: int, network: MaskMLBW | None = None) -> Record:
    """The record without metadata of its scene: the warped eye, with the true one in its holes."""
    part = slice(margin(view), margin(view) + size)
    warped, holes = warp(rendered, view, network)
    holes, truth = holes[:, :, part], rendered.right[:, :, part]
    frames = np.where(holes[..., None], truth, warped[:, :, part])
    return Record(key, frames, np.where(holes, np.uint8(255), np.uint8(0)), measure(rendered, holes, part))


def warp(
    rendered: Rendered, view: View, network: MaskMLBW | None = None
) -> tuple[np.ndarray, np.ndarray]:  # -> uint8 (T H W 3), bool (T H W)
    """The right eye as the view's warp makes it from the left one, and its holes, closed and grown as in use."""
    depth, depth_width = nearness(rendered, view)
    eye, holes = np.empty_like(rendered.left), np.empty(rendered.nearness.shape, bool)
    for t, frame in enumerate(rendered.left):
        image = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
        how = 2 * rendered.divergence, rendered.convergence, network, True  # twice: the strength of two views
        right, mask = right_eye(view.warp, image, depth[t : t + 1], *how)
        eye[t] = (right[0] * 255).round().byte().permute(1, 2, 0).numpy()
        holes[t] = grown(view.warp, mask, view.inner, view.outer, depth_width)[0, 0].numpy()
    return eye, holes


def nearness(rendered: Rendered, view: View) -> tuple[torch.Tensor, int]:
    """The depth (T 1 h w) that the warp is given, and the width that grown holes are measured by."""
    if view.degradation is None:
        depth = torch.from_numpy(rendered.nearness)[:, None]
    else:
        depth = degrade(rendered.nearness, min(view.film_size), view.degradation)
    return dilate_edge(depth, view.edge_dilation), depth.shape[-1]


def measure(rendered: Rendered, holes: np.ndarray, part: slice) -> dict[str, Any]:
    """How large the holes are, and which share of them the left eye does not show."""
    uncovered = rendered.uncovered[:, :, part]
    return {
        "hole_share": round(float(holes.mean()), 6),
        "uncovered_share": round(float(uncovered.mean()), 6),
        "holes_uncovered": round(float(uncovered[holes].mean()) if holes.any() else 0.0, 4),
    }


def describe(scene_seed: int, scene: Scene, view: View, size: int) -> dict[str, Any]:
    """All that it takes, with the textures, to render the scene again."""
    return {
        "truth": "rendered",
        "scenes_version": VERSION,
        "warp": MASKS[view.warp],
        "mask": MASKS[view.warp],
        "video": f"scene_{scene_seed}",
        "scene_seed": scene_seed,
        "layers": len(scene.layers),
        "size": size,
        "frames": scene.frames,
        "margin": margin(view),
        "frame_size": list(view.film_size),
        "model_type": "exact" if view.degradation is None else "degraded",
        "resolution": None if view.degradation is None else MODEL_SIDE,
        "degradation": None if view.degradation is None else asdict(view.degradation),
        "divergence": view.divergence,
        "convergence": scene.convergence,
        "mapper": "none",
        "view": "right",
        "edge_dilation": view.edge_dilation,
        "inner_dilation": view.inner,
        "outer_dilation": view.outer,
    }
