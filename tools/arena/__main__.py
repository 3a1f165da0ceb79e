"""Ranks networks of one family on ordinary splits and on rendered truth, on one page."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if not __package__:  # run as a folder: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tools import cli
from tools.cli import UserError
from tools.cli.files import check_writable

if TYPE_CHECKING:
    import torch

    from tools.arena.contest import Split, Truth
    from tools.evaluation.methods import Method

QUICK_SECONDS = 90  # a quick arena starts no clip after this time
QUICK_DEPTHS = 1  # number of the requested depths that a quick arena uses
QUICK_TILE = 160  # pixels: half the work of 256


@dataclass(frozen=True)
class Config:
    """Rank networks on ordinary splits and on rendered truth, beside simple fills."""

    ALIASES: ClassVar = {"data": ("-i",), "out": ("-o",)}
    checkpoints: tuple[str, ...] = ()  # weight files or training checkpoints of the family, ours or iw3's, or base;
    # all others are compared with the first one
    data: tuple[str, ...] = ("data/eval",)  # ordinary splits, folders or URLs; none: rendered scenes only
    scenes: int = 20  # number of rendered scenes
    textures: tuple[str, ...] = ("clips/bikes.mp4", "clips/cityCC0.mpg")  # films, or folders of films, that the scenes'
    # textures are cut from; none that a network was trained on
    depth: tuple[str, ...] = ("exact", "degraded")  # depth of rendered scenes: exact, degraded, Motion
    baselines: tuple[str, ...] = ("replicate", "navier-stokes")  # all, none, or names of simple fills
    out: str = "arena"  # output folder for arena.html and arena.json
    quick: bool = False  # finish within about two minutes, with as many clips, in random order, as fit
    size: int = 512  # height and width in pixels of a scene
    tile: int = 256  # side in pixels of the tile that is filled; its outer 16 pixels are context and not measured
    pictures: int = 2  # number of film strips per source, those on which methods differ most
    device: str = "auto"  # auto, cpu or cuda
    seed: int = 0  # random seed of the scenes, the order of clips and the intervals

    def __post_init__(self):
        if len(self.checkpoints) < 1:
            raise UserError("--checkpoints is missing: name the networks to rank, such as --checkpoints a.pth base")
        if self.scenes < 2:
            raise UserError(f"--scenes {self.scenes}: expected 2 or more, because intervals come from several scenes")
        if not 64 <= self.tile <= self.size:
            raise UserError(f"--tile {self.tile}, --size {self.size}: expected 64 or more, and tiles of at most --size")
        if self.pictures < 0 or not 0 <= self.seed < 1_000_000:
            raise UserError("expected --pictures of 0 or more and --seed of 0 to 999999")


def main() -> None:
    started = time.monotonic()
    config = cli.parse(Config)
    check_writable(Path(config.out))
    from model.device import choose_device
    from tools.arena.contest import boards_of, contest
    from tools.arena.report import write_report
    from train.runtime.cpu import prepare_cpu

    device = choose_device(config.device, 0)
    prepare_cpu(device)
    methods, notes = load_methods(config, device)
    sources = open_sources(config, methods)
    deadline = started + QUICK_SECONDS if config.quick else float("inf")
    tile = min(config.tile, QUICK_TILE) if config.quick else config.tile
    contest(sources, methods, tile, config.pictures, device, deadline)
    write_report(Path(config.out), boards_of(sources, methods), sources, methods, notes, config)


def load_methods(config: Config, device: "torch.device") -> "tuple[list[Method], list[str]]":
    """The networks in the order given, then the simple fills; and notes on what is left out."""
    from model.checkpoint import load_network
    from tools.evaluation.methods import choose_baselines, network_method, short_names

    names = short_names(config.checkpoints)
    networks = [
        network_method(name, "network", load_network(path, device))
        for name, path in zip(names, config.checkpoints, strict=True)
    ]
    fills, notes = choose_baselines(config.baselines)
    return [*networks, *fills], notes


def open_sources(config: Config, methods: "list[Method]") -> "list[Split | Truth]":
    """Rendered truth and the splits, with their clips in an order drawn by seed."""
    from tools.arena.contest import open_split, open_truth
    from tools.stereo_truth.depths import KINDS
    from tools.stereo_truth.scenes import TEXTURES
    from tools.truth.textures import find_sources, load_textures

    if unknown := [name for name in config.depth if name not in KINDS]:
        raise UserError(f"--depth {unknown[0]}: expected some of {', '.join(KINDS)}")
    sources = find_sources(config.textures)
    splits = [open_split(data, methods, config.seed) for data in config.data if data != "none"]
    depths = config.depth[:QUICK_DEPTHS] if config.quick else config.depth
    textures = load_textures(sources, TEXTURES, config.seed)
    return [open_truth(textures, depths, config.scenes, config.size, methods, config.seed), *splits]


if __name__ == "__main__":
    cli.run(main)
