"""The command line of packing. Nothing heavy is imported, so that `--help` answers at once."""

import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pack.holes.kinds import AUTO, Shares, parse_shares
from pack.holes.mappers import mapper
from tools.cli import UserError
from tools.cli.files import file_sha256
from tools.cli.sizes import parse_size

LONGEST_NAME = 74  # bytes: tar's 100, minus "_" and 8 digits, "_" and 3 digits, ".999_C.webp" and 2 spare ones

DEFAULT_MODEL = "Motion"
# Settings that version 1 of the data format began without, and what packing did then: the value of an index that lacks
# them, which is not stored either.
BEFORE = {
    "deinterlace": "off",
    "depth_large": "auto",
    "depth_metric": "auto",
    "depth_range": "minmax",
    "divergence": 0.0,
    "mapper": "",
    "max_crossed": 1.0,
    "rotate": True,
    "shots": "all",
}


@dataclass(frozen=True)
class Config:
    """Pack videos into shards: clips, with masks of the holes that a change of view would uncover."""

    dataset_dir: tuple[str, ...] = ()  # videos: files, folders, globs or iw3's export folders, one or several
    # (required, unless --depth is an export folder with rgb/, or a folder of such)
    data_dir: str = "data/train"  # folder of the split that the shards are written to
    prefix: str = ""  # first part of every record's key; lets one video be packed more than once
    model_type: str = DEFAULT_MODEL  # depth model: Motion (offline), one of iw3's names, or the folder of a model
    depth: str = ""  # depth from files instead of a model: iw3's export folder, numbered 16-bit PNGs, a grey video or
    # an .npz; for several videos a folder with one of these per video, named like it
    depth_large: Literal["auto", "near", "far"] = "auto"  # what large values in depth files mean; auto: as an export
    # says, else near, or far with --depth-metric yes
    depth_metric: Literal["auto", "yes", "no"] = "auto"  # whether values in depth files are metres, or linear in them;
    # auto: as an export says, else no
    depth_range: Literal["minmax", "robust", "given"] = "minmax"  # what becomes nearness 0 (far) and 1 (near); minmax:
    # the clip's minimum and maximum; robust: medians over its frames of percentiles 0.5 and 99.5; given: depth files
    # hold nearness
    resolution: int | None = None  # short side of the depth model's input, pixels (default: the model's own)
    max_fps: float = 30.0  # largest frames per second; faster videos lose frames, chosen by their timestamps
    deinterlace: Literal["auto", "on", "off"] = "auto"  # frames to deinterlace; auto: those that are interlaced or
    # telecined; on: all; off: none
    seq: int = 16  # frames per clip
    skip_first: int = 0  # frames skipped at the start of each video
    skip_interval: int = 16  # frames skipped after each clip
    batch_size: int = 2  # frames per batch of the depth model; must divide --seq
    size: int = 512  # side of the square crops, pixels
    num_samples: int = 1  # crops per clip, and as many of its mirror image
    divergence_level: Literal["1", "2", "3", "wide"] = "1"  # strength of the stereo effect: divergence
    # in percent of the width, drawn for each clip from 0-5, 3-8, 6-11 or 0-16
    divergence: float = 0.0  # one divergence for all clips, in percent of the width (0: drawn, see --divergence-level)
    mapper: str = ""  # one curve from nearness to disparity for all clips, such as none, mul_2 or div_6 (default:
    # drawn)
    rotate: bool = True  # rotate half of the clips by up to 45 degrees, as iw3 does
    shots: str = "all"  # which shots are packed: 3/7 is every seventh from number 3 (of 0, 1, ...), not:3/7 the others
    seed: int = 71  # random seed
    short_sides: tuple[int, ...] = (720, 1080, 1080)  # frames are resized to a random one of these short sides, pixels
    image_format: Literal["webp", "png", "jpeg"] = "webp"  # format of the frames; webp and png are lossless
    holes: str = "auto"  # kinds of holes: forward, mlbw, monobw, mix (equal shares) or shares as in
    # mix:forward=1,monobw=2; auto: iw3's pair, mlbw (with --mask-model) for a clip and forward for its mirror image
    max_crossed: float = 1.0  # leave out records where a larger share of the hole pixels is crossed by edges of the
    # picture, because the depth steps beside an object; 0.1 for splits that rank fills (1: leave none out)
    mask_model: str = ""  # iw3's mask_mlbw file, for holes of the kind mlbw (auto without it: forward)
    max_shard_bytes: str = "1GB"  # a shard that has reached this size is closed before the next clip
    device: str = "auto"  # auto, cpu, cuda or cuda:N
    max_workers: int = 0  # processes (0: one per GPU, or one per two cores; under torchrun one per rank)
    overwrite: bool = False  # replace what was packed from these videos with this prefix and model type
    dry_run: bool = False  # print what is done, to do or in conflict, and write nothing

    ALIASES = {"dataset_dir": ("--video",), "data_dir": ("-o",)}  # noqa: RUF012

    def __post_init__(self):
        if not self.dataset_dir and not self.depth:
            raise UserError("--dataset-dir is missing: pass videos, or --depth with an export of iw3 that has rgb/")
        for name in ("seq", "batch_size", "size", "num_samples"):
            self._at_least(name, 1)
        for name in ("skip_first", "skip_interval", "seed", "max_workers"):
            self._at_least(name, 0)
        self._at_least("seq", 12)  # a training sample is 12 frames of a record
        if self.seq > 999:
            raise UserError(f"--seq {self.seq} is too long: pass 999 or less")
        if self.seq % self.batch_size:
            raise UserError(f"--batch-size {self.batch_size} does not divide --seq {self.seq}: pass a divisor of it")
        if not 0 < self.max_fps < float("inf"):
            raise UserError(f"--max-fps {self.max_fps} is not a frame rate: pass a number above 0, such as 30")
        if self.resolution is not None:
            self._at_least("resolution", 1)
        self._check_size()
        self._check_names()
        self.hole_shares()
        if self.shard_bytes < 1:
            raise UserError(f"--max-shard-bytes {self.max_shard_bytes} is too small: pass 1MB or more")
        if not 0 <= self.divergence <= 50:
            raise UserError(f"--divergence {self.divergence}: expected 0 to 50 percent of the width")
        if not 0 <= self.max_crossed <= 1:
            raise UserError(f"--max-crossed {self.max_crossed}: expected a share from 0 to 1, such as 0.1")
        if self.depth_range == "given" and not self.depth:
            raise UserError("--depth-range given needs the files of --depth: pass both")
        parse_shots(self.shots)
        if self.mapper:
            mapper(self.mapper)
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise UserError(f"--device {self.device} is unknown: pass auto, cpu, cuda or cuda:N")

    def _at_least(self, name: str, least: int) -> None:
        if getattr(self, name) < least:
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{flag} {getattr(self, name)} is too small: pass {least} or more")

    def _check_size(self) -> None:
        if min(self.short_sides, default=0) < 1:
            raise UserError("--short-sides needs at least one length above 0, such as 720 1080 1080")
        if self.size > min(self.short_sides):
            raise UserError(
                f"--size {self.size} does not fit frames that are resized to a short side of {min(self.short_sides)}: "
                f"pass --size {min(self.short_sides)} or less, or larger --short-sides"
            )

    def _check_names(self) -> None:
        for flag, name in (("--prefix", self.prefix), ("--model-type", self.model_name)):
            if not re.fullmatch(r"[\w-]*", name):  # in a WebDataset tar a dot ends a key, and a slash makes a folder
                raise UserError(f'{flag} "{name}" cannot be part of a key: use letters, digits, - and _')
        if not self.model_name:
            raise UserError("--model-type is empty: pass Motion, one of iw3's names or a folder that holds a model")
        length = len(f"{self.prefix}_{self.model_name}_12345678".encode())
        if length > LONGEST_NAME:
            raise UserError(
                f"--prefix and --model-type make keys of {length} bytes, a tar has room for {LONGEST_NAME}: "
                f"pass a --prefix that is {length - LONGEST_NAME} bytes shorter"
            )

    @cached_property
    def model_name(self) -> str:
        """The depth model's part of a record's key: its name, or the name of its folder."""
        if self.depth and self.model_type == DEFAULT_MODEL:
            from pack.film_depth import model_type  # imports NumPy, which --help must not wait for

            return model_type(self.depth)
        if os.sep in self.model_type or Path(self.model_type).is_dir():
            return re.sub(r"[^\w-]", "_", Path(self.model_type).resolve().name)
        return self.model_type

    @property
    def shard_bytes(self) -> int:
        return parse_size("--max-shard-bytes", self.max_shard_bytes)

    def hole_shares(self) -> Shares | None:
        """The share of each kind of holes; None for iw3's pair. Raises UserError for a mistake in --holes."""
        return None if self.holes == AUTO else parse_shares("--holes", self.holes, bool(self.mask_model))

    def settings(self) -> dict[str, Any]:
        """The settings that records depend on, as they are stored in an index."""
        shares = self.hole_shares()
        others = ("holes", "dataset_dir", "data_dir", "depth", "device", "max_workers", "overwrite", "dry_run")
        settings = {name: value for name, value in asdict(self).items() if name not in others}
        settings = {name: value for name, value in settings.items() if name not in BEFORE or value != BEFORE[name]}
        return settings | {
            "model_type": self.model_name,  # without its folder, which may be another one on another machine
            "max_shard_bytes": self.shard_bytes,
            "short_sides": list(self.short_sides),
            "mask_model": file_sha256(self.mask_model) if self.mask_model else "",
            # without the default, which earlier versions had no word for, so that their shards can be continued
            **({"holes": shares} if shares else {}),
        }


def parse_shots(text: str) -> Callable[[int], bool]:
    """Whether a shot of this number is packed, by "all", "3/7" or "not:3/7". Raises UserError."""
    match = re.fullmatch(r"(not:)?(\d+)/(\d+)", text)
    if text == "all":
        return lambda number: True
    if not match or not int(match[2]) < int(match[3]):
        raise UserError(f"--shots {text}: expected all, or a number and a period above it, such as 3/7 or not:3/7")
    first, period, others = int(match[2]), int(match[3]), bool(match[1])
    return lambda number: (number % period == first) != others
