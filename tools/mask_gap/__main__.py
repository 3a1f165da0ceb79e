"""The holes that each warp opens in a film, against those of a training split: area, width, overlap, pictures."""

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if not __package__:  # run as a folder: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tools import cli
from tools.cli import UserError, plural

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

    from tools.mask_gap.gap import Masks


@dataclass(frozen=True)
class Config:
    """Compare the holes that a film opens with those of a training split."""

    ALIASES: ClassVar = {"video": ("-i",), "out": ("-o",)}
    video: str = ""  # film to compare (required)
    data: str = "data/train"  # training split: folder or URL
    model_type: str = "Motion"  # depth model, as for packing
    resolution: int | None = None  # short side of the depth model's input, pixels (default: the model's own)
    divergence: float = 2.5  # strength as in make stereo, of one made eye
    convergence: float = 0.5  # nearness that does not move
    mask_model: str = ""  # iw3's mask_mlbw file, for the kind mlbw
    frames: int = 6  # frames of the film, evenly spaced over its first --seconds
    seconds: float = 30.0  # how much of the film, from its start, the frames are taken from
    records: int = 60  # records of the split, evenly spaced
    out: str = "mask-gap.png"  # output image: frames and their holes by kind

    def __post_init__(self):
        if not self.video:
            raise UserError("--video is missing: pass a film")
        if min(self.frames, self.records) < 1 or self.seconds <= 0 or not 0 < self.divergence <= 25:
            raise UserError("expected --frames, --records of 1 or more, --seconds above 0, --divergence above 0 to 25")


def main() -> None:
    config = cli.parse(Config)
    from tools.cli.files import check_result
    from tools.evaluate import choose_records, list_used_shards
    from tools.inspection.contact_sheet import save
    from tools.mask_gap.gap import overlap_lines, split_widths, verdict, width_lines

    check_result(config.out)
    shards, _ = list_used_shards(config.data, "")
    trained = split_widths(choose_records(shards, config.records, config.data))
    film, pictures = film_masks(config)
    print("\n".join([*width_lines(film, trained), *overlap_lines(film)]))
    for kind in film:
        print(verdict(kind, film[kind], trained))
    save(pictures, Path(config.out))
    print(f"{config.out}: {plural(len(next(iter(film.values())).masks), 'frame')} of {Path(config.video).name}")


def film_masks(config: Config) -> "tuple[dict[str, Masks], PillowImage]":
    """The film's holes in use by kind, and a picture of them."""
    import torch

    from model.mask_mlbw import load_mask_network
    from pack.depth.models import load_depth
    from pack.holes.kinds import KINDS, MLBW
    from pack.holes.mappers import mapper
    from pack.video.reader import probe
    from pack.video.shot_reader import read_shots
    from tools.inspection.contact_sheet import stack
    from tools.mask_gap.gap import Masks, film_scale
    from tools.mask_gap.pictures import draw_row
    from tools.synthesis.views import Geometry, see, with_depth

    model = load_depth(config.model_type, config.resolution, torch.device("cpu"))
    network = load_mask_network(config.mask_model) if config.mask_model else None
    kinds = [kind for kind in KINDS if kind != MLBW or network]
    curve = mapper("div_6" if model.metric else "none")
    video = probe(Path(config.video))
    step = max(1, int(min(config.seconds * video.fps, video.frames or config.seconds * video.fps) / config.frames))
    found: dict[str, list[torch.Tensor]] = {kind: [] for kind in kinds}
    rows: list[PillowImage] = []
    progress = cli.Progress(config.frames, "frames", "mask gap")
    with torch.inference_mode():
        shots = (with_depth(shot, model, torch.device("cpu")) for shot in read_shots(Path(config.video)))
        for one in itertools.islice(itertools.chain.from_iterable(shots), step // 2, step * config.frames, step):
            for kind in kinds:
                how = Geometry(config.divergence, config.convergence, curve, method=kind, network=network)
                found[kind].append(see(one.seconds, one.frame, one.nearness, how).holes)
            rows.append(draw_row(one.seconds, one.frame[0], {kind: masks[-1] for kind, masks in found.items()}))
            progress.update(len(rows))
    progress.close()
    if not rows:
        raise UserError(f"{config.video} has no frame in its first {config.seconds} seconds: pass more --seconds")
    scale = film_scale(video.width, video.height)
    return {kind: Masks(torch.stack(masks), scale) for kind, masks in found.items()}, stack(rows)


if __name__ == "__main__":
    cli.run(main)
