"""Every depth, warp and fill on every scene: the right eyes that they make, measured against the true one.

T frames (16, of which the middle 12 are measured), H height, W width, S side of the tile.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from model.mask_mlbw import MaskMLBW
from pack.holes.mappers import mapper
from tools.cli import Progress
from tools.evaluation.methods import Method
from tools.evaluation.network_fill import middle_of
from tools.evaluation.quality import Truth
from tools.evaluation.summary import Rows
from tools.stereo_truth import classes
from tools.stereo_truth.depth_files import Nearness
from tools.stereo_truth.depths import nearness_of
from tools.stereo_truth.measures import TrueEye, measure
from tools.stereo_truth.warps import warp as warp_frames
from tools.synthesis.views import Geometry
from train.data.crop import choose_tile
from train.evaluation.evaluate import trim

FULL_WIDTH = 1920
LEFT_EYE, PERFECT = "left eye", "perfect fill"


@dataclass(frozen=True)
class Scene:
    """A clip of which both eyes are known, T frames."""

    name: str
    seed: int  # of what its degraded depth draws
    left: np.ndarray  # uint8 (T H W 3)
    right: np.ndarray  # uint8 (T H W 3)
    nearness: np.ndarray  # float32 (T H W) of the left eye, 1 near
    uncovered: np.ndarray  # bool (T H W) of the right eye
    divergence: float  # percent of the longer side
    convergence: float
    softness: float = float("nan")  # mean width in pixels of half-transparent borders, nan where the scene lacks it
    strength: float = float("nan")  # percent of the film's width
    film_size: tuple[int, int] = (0, 0)  # width and height of the film that the scene is a part of; (0, 0): all of it
    margin: int = 0  # pixels at the left and right that are given but not measured: there the eyes see past each other


@dataclass(frozen=True, order=True)
class Case:
    """A way to make the right eye."""

    depth: str
    warp: str
    fill: str

    def __str__(self) -> str:
        return f"{self.fill} | {self.depth} depth | {self.warp} warp"


@dataclass
class Shown:
    """A scene of the report: its eyes and what was made of it, all uint8 (12 S S 3)."""

    name: str
    gap: float  # dB in uncovered pixels between the best and the worst of the fills that are compared
    pictures: dict[str, np.ndarray]


@dataclass
class Found:
    """What a comparison found: a row of measures for each case (by its name) and scene."""

    rows: Rows
    cases: list[Case]
    shown: list[Shown] = field(default_factory=list)  # largest gap first
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Made:
    """What a depth and a warp make of the tile of a scene."""

    right: torch.Tensor  # float (T 3 S S), 0 in holes
    holes: torch.Tensor  # bool (T 1 S S)


def compare(
    scenes: Iterable[Scene],
    total: int,
    depths: Sequence[str],
    warps: Sequence[str],
    methods: Sequence[Method],
    tile: int,
    pictures: int,
    seed: int,
    device: torch.device,
    network: MaskMLBW | None = None,
) -> Found:
    """The measures of all cases on all scenes, and the scenes on which fills differ most.

    `network` is the one of the learned warp. Besides the methods there are the left eye as it is and a fill that knows
    the true colours of the holes.
    """
    names = [LEFT_EYE, *(m.name for m in methods), PERFECT]
    cases = [Case(depth, warp, name) for depth in depths for warp in warps for name in names]
    found = Found(Rows({str(case): [] for case in cases}, [], seed), cases)
    progress = Progress(total, "scenes")
    for number, scene in enumerate(scenes):
        measure_scene(scene, found, depths, warps, methods, tile, pictures, device, network)
        progress.update(number + 1)
    progress.close()
    return found


@torch.inference_mode()
def measure_scene(
    scene: Scene,
    found: Found,
    depths: Sequence[str],
    warps: Sequence[str],
    methods: Sequence[Method],
    tile: int,
    pictures: int,
    device: torch.device,
    network: MaskMLBW | None = None,
) -> None:
    """Add a scene's measures, or a note why it has none."""
    middle = middle_of(len(scene.left))
    window = choose_window(scene, tile, middle)
    truth = TrueEye(
        to_frames(scene.left[window][middle], device),
        to_frames(scene.right[window][middle], device),
        torch.from_numpy(scene.uncovered[window][middle])[:, None].to(device),
    )
    inner = TrueEye(trim(truth.left), trim(truth.right), trim(truth.uncovered))
    if not inner.uncovered.any():
        found.notes.append(f"{scene.name} is left out: the left eye shows all of it")
        return
    scale = FULL_WIDTH / (scene.film_size[0] or max(scene.left.shape[1:3]))
    parts = classes.parts_by_width(trim(classes.widths_at_1080p(truth.uncovered, scale)))
    outputs = {}
    for depth in depths:
        film_size = scene.film_size if scene.film_size[0] else scene.left.shape[2:0:-1]
        nearness = nearness_of(depth, scene.name, scene.left, scene.nearness, film_size, scene.seed)
        for warp in warps:
            made = make(scene, nearness, warp, window, device, network)
            hidden = trim(made.holes[middle])
            for name, output in fills_of(made, truth, methods, middle).items():
                case = Case(depth, warp, name)
                if not output.isfinite().all():
                    found.rows.values[str(case)].append({})
                    found.rows.broken.setdefault(str(case), []).append(scene.name)
                    continue
                filled = torch.zeros_like(hidden) if name == LEFT_EYE else hidden
                found.rows.values[str(case)].append(measure(trim(output), inner, filled, parts))
                outputs[case] = trim(output)
            outputs[Case(depth, warp, "warped")] = trim(made.right[middle])
    found.rows.clips.append(describe(scene, inner, scale))
    keep_largest(found, scene, inner, outputs, depths[0], warps[0], methods, pictures)


def choose_window(scene: Scene, tile: int, middle: slice) -> tuple[slice, slice, slice]:
    """The rows and columns that are measured: where most is uncovered, all between the margins for tile 0."""
    end = scene.left.shape[2] - scene.margin
    if not tile:
        return np.s_[:, :, scene.margin : end]
    masks = torch.from_numpy(scene.uncovered[middle, :, scene.margin : end].astype(np.uint8))
    y, x = choose_tile(masks, tile, None)
    return np.s_[:, y : y + tile, scene.margin + x : scene.margin + x + tile]


def make(
    scene: Scene,
    nearness: Nearness,
    warp: str,
    window: tuple[slice, slice, slice],
    device: torch.device,
    network: MaskMLBW | None = None,
) -> Made:
    """What a warp makes of the whole frame, cut to the tile."""
    how = Geometry(scene.divergence, scene.convergence, mapper("none"), nearness.edge_dilation)
    how = replace(how, network=network, is_part=scene.film_size[0] > 0)
    right, holes, near = [], [], nearness.values.to(device)
    for t in range(len(scene.left)):  # one at a time: a clip of whole frames takes half a gigabyte
        frame = to_frames(scene.left[t : t + 1], device)
        one = warp_frames(warp, frame, near[t : t + 1], how)
        right.append(one[0][(slice(None), *window)])
        holes.append(one[1][(slice(None), *window)])
    return Made(torch.cat(right), torch.cat(holes))


def fills_of(made: Made, truth: TrueEye, methods: Sequence[Method], middle: slice) -> dict[str, torch.Tensor]:
    """The right eye (12 3 S S) of every fill: fills other than networks and queues see only the 12 measured frames."""
    right, holes = made.right[middle], made.holes[middle]
    outputs = {LEFT_EYE: truth.left}
    for method in methods:
        if method.frames == len(made.right):
            outputs[method.name] = method(made.right, made.holes)[middle]
        else:
            outputs[method.name] = method(right, holes)
    outputs[PERFECT] = torch.where(holes, truth.right, right)
    return outputs


def describe(scene: Scene, truth: TrueEye, scale: float) -> dict[str, Any]:
    """What is known of a scene, and its classes."""
    numbers = {
        "strength": scene.strength,
        "texture": classes.texture(truth),
        "contrast": classes.contrast(truth),
        "motion": Truth.of(truth.right, truth.uncovered).speed * scale,
        "softness": scene.softness,
    }
    groups = {name: classes.class_of(numbers[name], limits) for name, limits in classes.LIMITS.items()}
    share = float(truth.uncovered.double().mean())
    return {"key": scene.name, **groups, "uncovered_share": share, "numbers": numbers}


def keep_largest(
    found: Found,
    scene: Scene,
    truth: TrueEye,
    outputs: Mapping[Case, torch.Tensor],
    depth: str,
    warp: str,
    methods: Sequence[Method],
    pictures: int,
) -> None:
    """Keep a scene's pictures if its fills differ more than those of the scenes that are kept."""
    compared = [m.name for m in methods if m.kind in ("network", "one frame") and m.name != "empty"]
    measured = (found.rows.values[str(Case(depth, warp, name))][-1] for name in compared)
    values = [row["uncovered_psnr"] for row in measured if row]
    gap = max(values) - min(values) if values else 0.0
    shown = {"left eye": truth.left, "true right eye": truth.right, "warped": outputs[Case(depth, warp, "warped")]}
    filled = ((m.name, outputs.get(Case(depth, warp, m.name))) for m in methods if m.name != "empty")
    shown |= {name: output for name, output in filled if output is not None}
    found.shown.append(Shown(scene.name, gap, {name: to_pixels(frames) for name, frames in shown.items()}))
    found.shown.sort(key=lambda one: -one.gap)
    del found.shown[pictures:]


def to_frames(pixels: np.ndarray, device: torch.device) -> torch.Tensor:  # uint8 (T H W 3) -> float (T 3 H W) in [0, 1]
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).float() / 255


def to_pixels(frames: torch.Tensor) -> np.ndarray:  # float (T 3 H W) -> uint8 (T H W 3)
    return (frames.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
