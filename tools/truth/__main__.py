"""Renders scenes with both eyes into shards of records: `python tools/truth -o data/truth --clips 500`."""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if not __package__:  # run as a folder: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from pack.holes.kinds import FORWARD, Shares, parse_shares
from tools import cli
from tools.cli import UserError
from tools.cli.files import file_sha256
from tools.cli.sizes import parse_size

if TYPE_CHECKING:
    import numpy as np

    from model.mask_mlbw import MaskMLBW
    from pack.parts import State


@dataclass(frozen=True)
class Config:
    """Render layered scenes, whose other eye is known, into shards for training and evaluation."""

    ALIASES: ClassVar = {"out": ("-o",)}
    out: str = "data/truth"  # split folder that gets the shards
    clips: int = 500  # number of records, one per scene
    textures: tuple[str, ...] = (
        "clips/bigbuckbunny.mp4",
        "clips/bikes.mp4",
        "clips/cityCC0.mpg",
    )  # videos, or folders of videos or photos, that textures are cut from; none that an evaluation holds out
    texture_count: int = 96  # number of frames that textures are taken from
    seed: int = 0  # random seed; the same seed and textures give the same bytes
    size: int = 512  # side of a record, pixels
    frames: int = 16  # frames per record
    degraded: float = 0.5  # share of records with simulated errors of a depth model instead of the exact depth
    warp: str = "forward"  # what makes the eyes and their holes: forward, monobw, mlbw, mix (equal shares) or shares as
    # in mix:forward=1,monobw=2
    mask_model: str = ""  # iw3's mask_mlbw file, which the warp mlbw needs
    image_format: str = "webp"  # webp, png or jpeg
    max_shard_bytes: str = "1GB"  # a shard that has reached this size is closed
    workers: int = 0  # scenes rendered in parallel; 0: one per core

    def __post_init__(self):
        if self.clips < 1 or self.frames < 1 or self.texture_count < 1 or self.workers < 0 or self.seed < 0:
            raise UserError(
                "expected --clips, --frames and --texture-count of 1 or more, --seed and --workers of 0 or more"
            )
        if self.size < 64 or self.size % 8:
            raise UserError(f"--size {self.size} is not a side that records can have: pass a multiple of 8 from 64 on")
        if not 0 <= self.degraded <= 1:
            raise UserError(f"--degraded {self.degraded} is not a share: pass a number from 0 to 1")
        parse_shares("--warp", self.warp, bool(self.mask_model))
        if self.image_format not in ("webp", "png", "jpeg"):
            raise UserError(f"--image-format {self.image_format} is unknown: pass webp, png or jpeg")
        if parse_size("--max-shard-bytes", self.max_shard_bytes) < 1_000_000:
            raise UserError(f"--max-shard-bytes {self.max_shard_bytes} is too little: pass 1MB or more")


def main() -> None:
    config = cli.parse(Config)
    import torch

    from model.mask_mlbw import load_mask_network
    from pack.parts import read_state
    from pack.scenes.scene import VERSION
    from tools.truth.textures import find_sources, identify, load_textures

    torch.set_num_threads(1)
    sources = find_sources(config.textures)
    settings = {
        "truth": "rendered",
        "scenes_version": VERSION,
        "textures": [identify(source) for source in sources],
        "texture_count": config.texture_count,
        "seed": config.seed,
        "size": config.size,
        "frames": config.frames,
        "degraded": config.degraded,
        "image_format": config.image_format,
        "max_shard_bytes": parse_size("--max-shard-bytes", config.max_shard_bytes),
        "clips": config.clips,
    }
    if config.warp != FORWARD:  # earlier versions knew no other, and their shards can be continued
        settings["warp"] = parse_shares("--warp", config.warp, bool(config.mask_model))
        settings["mask_model"] = file_sha256(config.mask_model) if config.mask_model else ""
    name, source = f"truth_{config.seed}", {"video": f"truth_{config.seed}"}
    state = read_state(Path(config.out), name, source, settings)
    if state.differences:
        raise UserError(
            f"{config.out} holds scenes of --seed {config.seed} with other settings "
            f"({'; '.join(map(str, state.differences))}): "
            f"pass another --seed or --out, or remove {name}-*"
        )
    if not state.done:
        network = load_mask_network(config.mask_model) if config.mask_model else None
        textures = load_textures(sources, config.texture_count, config.seed)
        write(config, name, source, settings, state, textures, network)
    state = read_state(Path(config.out), name, source, settings)
    lacking = config.clips - state.records
    note = f", {cli.plural(lacking, 'clip')} left out for lack of holes" if lacking else ""
    print(f"{config.out}: {cli.plural(state.records, 'record')} of rendered scenes{note}")


def write(
    config: Config,
    name: str,
    source: dict[str, Any],
    settings: dict[str, Any],
    state: "State",
    textures: "list[np.ndarray]",
    network: "MaskMLBW | None",
) -> None:
    """Render the missing records, and publish each shard when it is full."""
    from pack.parts import PartWriter, remove_leftovers
    from pack.prefetch import ordered_map
    from tools.cli.machine import usable_cores

    workers = config.workers or usable_cores()
    names = [Path(one["video"]).name for one in settings["textures"]]
    warps = parse_shares("--warp", config.warp, network is not None)
    work = partial(render_clip, config=config, textures=textures, names=names, warps=warps, network=network)
    progress = cli.Progress(config.clips, "scenes", "truth", done=state.next_clip)
    remove_leftovers(Path(config.out), name)
    with PartWriter(Path(config.out), name, source, settings, state) as writer:
        clips = range(state.next_clip, config.clips)
        for clip, samples in ordered_map(work, clips, workers, 2 * workers):
            writer.add(clip, samples)
            progress.update(clip + 1)
        writer.finish(config.clips)
    progress.close()


def render_clip(
    clip: int,
    config: Config,
    textures: "list[np.ndarray]",
    names: list[str],
    warps: Shares,
    network: "MaskMLBW | None",
) -> tuple[int, list]:
    """The members of a clip's record, as PartWriter takes them."""
    from dataclasses import replace

    from pack.shards.record import encode
    from tools.truth.records import make_record

    how = config.size, config.frames, config.degraded, warps, network
    record = make_record(clip, config.seed, textures, *how)
    if record is None:
        return clip, []
    about = {"textures": names, "texture_count": config.texture_count, "seed": config.seed}
    record = replace(record, info=record.info | about)
    return clip, [(record.key, encode(record, config.image_format))]


if __name__ == "__main__":
    cli.run(main)
