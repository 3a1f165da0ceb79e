"""Shows the depth and the holes of a video before it is packed."""

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli
from tools.cli import UserError, plural
from tools.cli.files import check_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image as PillowImage

    from pack.config import Config as PackConfig
    from pack.film_depth import FilmDepth
    from pack.pipeline import Models
    from pack.video.reader import Clip, VideoInfo


@dataclass(frozen=True)
class Config:
    """Make a contact sheet PNG of a video's depth and holes."""

    ALIASES: ClassVar = {"out": ("-o",)}
    video: str = ""  # video file, or iw3's export folder of it (required, unless that is --depth)
    model_type: str = "Motion"  # depth model, as for packing
    depth: str = ""  # depth from files instead of a model, as for packing
    resolution: int | None = None  # short side of the depth model's input, pixels (default: the model's own)
    divergence_level: Literal["1", "2", "3", "wide"] = "1"  # strength of the stereo effect, as for packing
    holes: str = "auto"  # kinds of holes, as for packing
    mask_model: str = ""  # iw3's mask_mlbw file, for holes of the kind mlbw
    clips: int = 4  # number of clips, from the start of the video
    skip_interval: int = 16  # frames between clips
    deinterlace: Literal["auto", "on", "off"] = "auto"  # interlaced and telecined frames, as for packing
    device: str = "auto"  # auto, cpu or cuda
    tile: int = 320  # width of an image, pixels
    out: str = "preview.png"  # output image

    def __post_init__(self):
        if not self.video and not self.depth:
            raise UserError("--video is missing: pass a video file, or --depth with an export that has rgb/")
        if self.clips < 1 or self.tile < 16:
            raise UserError(
                f"--clips {self.clips} --tile {self.tile}: expected --clips 1 or more and --tile 16 or more"
            )


def main() -> int:
    config = cli.parse(Config)
    from pack.config import Config as PackConfig  # here and below: torch takes seconds, --help must not wait for it

    settings = PackConfig(
        dataset_dir=(config.video,) if config.video else (),
        model_type=config.model_type,
        depth=config.depth,
        resolution=config.resolution,
        divergence_level=config.divergence_level,
        holes=config.holes,
        mask_model=config.mask_model,
        skip_interval=config.skip_interval,
        device=config.device,
    )
    from pack.film_depth import film_of, open_depth
    from pack.packing import depth_options
    from pack.video.reader import Report, probe, read_clips
    from pack.workers import LocalRank, load_models
    from tools.inspection.contact_sheet import save, stack

    check_result(config.out)
    video = probe(film_of(config.video, config.depth))
    models = load_models(settings, LocalRank(0, 1))
    files = open_depth(config.depth, video, depth_options(settings), settings.max_fps) if config.depth else None
    clips = read_clips(
        video.path,
        settings.seq,
        settings.max_fps,
        0,
        settings.skip_interval,
        Report(),
        deinterlace=config.deinterlace,
    )
    blocks, changes = [], []
    for clip in itertools.islice(clips, config.clips):
        block, change = show(clip, video, models, settings, config.tile, files)
        blocks.append(block)
        changes.append(change)
    save(stack(blocks), Path(config.out))
    print(f"{config.out}: {plural(len(blocks), 'clip')} of {video.path.name} with {settings.model_name}")
    print(f"depth changes by {steadiness(changes)} of its range from frame to frame on still pixels")
    return 0


def steadiness(changes: "Sequence[tuple[float, int]]") -> str:
    """The mean of the changes on still pixels, from their sums and counts, in percent."""
    pixels = sum(count for _, count in changes)
    return (
        f"{100 * sum(total for total, _ in changes) / pixels:.2f} %"
        if pixels
        else "an unknown part (no pixel is still)"
    )


def show(
    clip: "Clip",
    video: "VideoInfo",
    models: "Models",
    settings: "PackConfig",
    tile: int,
    files: "FilmDepth | None" = None,
) -> "tuple[PillowImage, tuple[float, int]]":
    """The first and the last frame of a clip, each with its depth, its holes and the holes over the frame.

    Beside it, what `still_change` says of the clip.
    """
    import numpy as np
    import torch
    from PIL import Image

    from pack.depth.steadiness import still_change
    from pack.pipeline import LEVELS, clip_depth, clip_holes, transform_clips
    from tools.inspection.contact_sheet import beside, describe, draw_frame, draw_text, stack

    metric = files.metric if files else bool(models.depth and models.depth.metric)
    shaped = next(transform_clips(iter([clip]), video, metric, settings, files))
    with torch.inference_mode():
        depth = clip_depth(shaped, models, settings)
        masks = LEVELS[clip_holes(depth, shaped, models, settings)[0]]
    images = []
    for t in (0, len(masks) - 1):
        frame, holes, overlay = draw_frame(shaped.frames[t], masks[t], tile)
        grey = Image.fromarray((depth[t, 0].cpu().numpy() * 255).astype(np.uint8)).convert("RGB").resize(frame.size)
        images += [frame, grey, holes, overlay]
    facts = {
        "clip": shaped.number,
        "start_frame": shaped.start,
        "divergence": shaped.params.divergence,
        "convergence": shaped.params.convergence,
        "mapper": shaped.params.mapper,
        "holes": shaped.params.kinds[0],
        "hidden_percent": 100 * float((masks > 0).mean()),
    }
    row = beside(images, group=4)
    change = still_change(torch.from_numpy(shaped.frames).permute(0, 3, 1, 2).float() / 255, depth.cpu())
    return stack([draw_text([describe(facts)], row.width), row]), change


if __name__ == "__main__":
    cli.run(main)
