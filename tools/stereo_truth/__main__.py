"""Measures made right eyes against true ones, of rendered scenes or of files: every depth, warp and fill."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if not __package__:  # run as a folder: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tools import cli
from tools.cli import UserError
from tools.cli.files import check_writable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tools.stereo_truth.compare import Scene


@dataclass(frozen=True)
class Config:
    """Measure the right eyes that networks and simple fills make against true ones, rendered or of files."""

    ALIASES: ClassVar = {"out": ("-o",)}
    checkpoint: tuple[str, ...] = ()  # weight files or training checkpoints, ours or iw3's, or base;
    # none: only simple fills
    pairs: tuple[str, ...] = ()  # folders of clips with two true eyes and their disparity, measured in place of
    # rendered scenes
    scenes: int = 40  # number of rendered scenes
    textures: tuple[str, ...] = ("clips/bikes.mp4", "clips/cityCC0.mpg")  # films, or folders of films, that the scenes'
    # textures are cut from; none that a network was trained on
    depth: tuple[str, ...] = ("exact", "degraded", "Motion")  # depth given to the warp: exact, degraded (with
    # errors of a depth model), Motion (estimated from the left eye), or a folder of depth that another program wrote of
    # the films of --write-left; pictures show the first one
    write_left: str = ""  # folder that the left eyes are written to as films, for another program to estimate their
    # depth; nothing is measured
    warp: tuple[str, ...] = ("forward",)  # warps that make the right eye: forward, monobw or mlbw, or
    # several of them; pictures show the first one
    mask_model: str = ""  # iw3's mask_mlbw file, which the warp mlbw needs
    baselines: tuple[str, ...] = ("all",)  # all, none, or names of simple fills
    out: str = "evaluation-stereo"  # output folder for report.html and metrics.json
    size: int = 512  # height and width in pixels of a scene, which is a part of a film in 720p or 1080p
    tile: int = 256  # side in pixels of the tile of a scene that is filled, the one with the most uncovered pixels; its
    # outer 16 pixels are context and not measured; 0: whole scenes
    pictures: int = 4  # number of scenes shown in the report, those on which fills differ most
    device: str = "auto"  # auto, cpu or cuda
    seed: int = 0  # random seed of the scenes, the textures, the intervals and the untrained network

    def __post_init__(self):
        if self.scenes < 2:
            raise UserError(f"--scenes {self.scenes}: expected 2 or more, because intervals come from several scenes")
        if (self.tile and not 64 <= self.tile <= self.size) or self.size < 64:
            raise UserError(f"--tile {self.tile}, --size {self.size}: expected 64 or more, and tiles of at most --size")
        if self.pictures < 0 or not 0 <= self.seed < 1_000_000:
            raise UserError("expected --pictures of 0 or more and --seed of 0 to 999999")


def main() -> None:
    config = cli.parse(Config)
    check_writable(Path(config.write_left or config.out))
    from model.device import choose_device
    from model.mask_mlbw import load_mask_network
    from tools.evaluation.methods import choose_baselines, load_methods
    from tools.stereo_truth.compare import compare
    from tools.stereo_truth.depths import KINDS
    from tools.stereo_truth.pairs import find_pairs, read_pairs
    from tools.stereo_truth.report import write_report
    from tools.stereo_truth.scenes import render_scenes
    from tools.stereo_truth.warps import known_warps
    from train.runtime.cpu import prepare_cpu

    folders = [name for name in config.depth if name not in KINDS and Path(name).is_dir()]
    check_names("--depth", config.depth, (*KINDS, *folders), "a folder of depth, see --write-left")
    check_names("--warp", config.warp, known_warps(bool(config.mask_model)))
    device = choose_device(config.device, 0)
    network = load_mask_network(config.mask_model, device) if config.mask_model else None
    if config.pairs:
        clips = find_pairs(config.pairs)
        count, scenes = len(clips), read_pairs(clips)
    else:
        count, scenes = config.scenes, render_scenes(config.textures, config.scenes, config.size, config.seed)
    if config.write_left:
        return write_left(config, scenes, count)
    prepare_cpu(device)
    fills, notes = choose_baselines(config.baselines)
    methods = [*load_methods(config.checkpoint, device, config.seed), *fills]
    found = compare(
        scenes,
        count,
        config.depth,
        config.warp,
        methods,
        config.tile,
        config.pictures,
        config.seed,
        device,
        network,
    )
    if not found.rows.clips:
        raise UserError(f"none of {count} scenes uncovers anything, the last: {found.notes[-1]}")
    write_report(Path(config.out), found, methods, [*notes, *found.notes, *found.rows.left_out()], config)


def write_left(config: Config, scenes: "Iterable[Scene]", count: int) -> None:
    """Write the left eyes and say what comes next."""
    from tools.stereo_truth.depth_files import write_left_eyes

    folder = Path(config.write_left)
    write_left_eyes(folder, ((scene.name, scene.left) for scene in scenes), count)
    print(
        f"{folder}: the left eyes of {cli.plural(count, 'scene')}. Write the depth of each film under its name "
        f"(iw3: --export), and pass that folder as --depth"
    )


def check_names(flag: str, names: tuple[str, ...], known: tuple[str, ...], more: str = "") -> None:
    """Raise UserError for a name that is not among those known, or that is given twice; `more` is known besides."""
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"{flag} {unknown[0]}: expected some of {', '.join(filter(None, (*known, more)))}")
    if len(set(names)) < len(names):
        raise UserError(f"{flag} {' '.join(names)} names one twice")


if __name__ == "__main__":
    cli.run(main)
