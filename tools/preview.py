"""Shows what a depth model makes of a video before anything is packed: frames, nearness, holes."""

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli
from tools.cli import UserError


@dataclass(frozen=True)
class Config:
    """Make a contact sheet PNG of a video's depth and holes."""

    ALIASES: ClassVar = {"out": ("-o",)}
    video: str = ""  # the video
    model_type: str = "Motion"  # depth model, as for packing
    resolution: int | None = None  # short side that the depth model sees (default: its own)
    divergence_level: str = "1"  # strength of the views, as for packing
    clips: int = 4  # how many clips, from the start of the video
    skip_interval: int = 16  # frames between clips
    device: str = "auto"  # auto, cpu or cuda
    tile: int = 320  # width of an image, pixels
    out: str = "preview.png"  # the picture

    def __post_init__(self):
        if not self.video:
            raise UserError("--video is missing: say which video to look at")
        if self.clips < 1 or self.tile < 16:
            raise UserError("expected --clips of 1 or more and --tile of 16 or more")


def main() -> int:
    config = cli.parse(Config)
    from pack.config import Config as PackConfig

    settings = PackConfig(
        dataset_dir=(config.video,),
        model_type=config.model_type,
        resolution=config.resolution,
        divergence_level=config.divergence_level,
        skip_interval=config.skip_interval,
        device=config.device,
    )
    from pack.video.reader import Report, probe, read_clips  # after parsing: PyTorch takes seconds to import
    from pack.workers import LocalRank, load_models
    from tools.peek import save, stack

    video = probe(Path(config.video))
    models = load_models(settings, LocalRank(0, 1))
    clips = read_clips(video.path, settings.seq, settings.max_fps, 0, settings.skip_interval, Report())
    blocks = [show(clip, video, models, settings, config.tile) for clip in itertools.islice(clips, config.clips)]
    save(stack(blocks), Path(config.out))
    print(f"{config.out}: {len(blocks)} clips of {video.path.name} with {config.model_type}")
    return 0


def show(clip, video, models, settings, tile: int):
    """Two frames of a clip as packing sees them, each with its nearness, its holes and both together."""
    import numpy as np
    import torch
    from PIL import Image

    from pack.pipeline import LEVELS, clip_depth, clip_holes, transform_clips
    from tools.peek import beside, describe, draw_frame, draw_text, stack

    shaped = next(transform_clips(iter([clip]), video, models.depth.metric, settings))
    with torch.inference_mode():
        depth = clip_depth(shaped, models, settings)
        masks = LEVELS[clip_holes(depth, shaped, models, settings)[0]]
    images = []
    for t in (0, len(masks) - 1):
        frame, holes, overlay = draw_frame(shaped.frames[t], masks[t], tile)
        grey = Image.fromarray((depth[t, 0].cpu().numpy() * 255).astype(np.uint8)).convert("RGB").resize(frame.size)
        images += [frame, grey, holes, overlay]
    drawn = shaped.params
    words = {
        "clip": shaped.number,
        "start_frame": shaped.start,
        "divergence": drawn.divergence,
        "convergence": drawn.convergence,
        "mapper": drawn.mapper,
        "hidden_percent": 100 * float((masks > 0).mean()),
    }
    row = beside(images, group=4)
    return stack([draw_text([describe(words)], row.width), row])


if __name__ == "__main__":
    cli.run(main)
