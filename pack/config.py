"""The command line of packing. Only the standard library is imported, so that `--help` answers at once."""

import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tools.cli import UserError
from tools.cli.files import file_sha256
from tools.cli.sizes import parse_size

LONGEST_NAME = 74  # bytes: tar's 100 less "_" number of 8 digits, "_" crop of 3 digits, ".999_C.webp" and a spare


@dataclass(frozen=True)
class Config:
    """Pack videos into shards of clips with the holes that a change of view would uncover."""

    dataset_dir: tuple[str, ...]  # videos: files, folders, globs, or several of them
    data_dir: str = "data/train"  # split folder that gets the shards
    prefix: str = ""  # first part of every record's key, to tell packings of one video apart
    model_type: str = "Motion"  # depth model: Motion (offline), one of iw3's names, or a folder that holds a model
    resolution: int | None = None  # short side that the depth model sees (default: its own)
    max_fps: float = 30.0  # frames above this rate are dropped by their timestamps
    seq: int = 16  # frames of a clip
    skip_first: int = 0  # frames dropped at the start of each video
    skip_interval: int = 16  # frames dropped after each clip
    batch_size: int = 2  # frames computed at once; divides --seq
    size: int = 512  # side of a record's square crop, pixels
    num_samples: int = 1  # crops of each clip, upright and mirrored each
    divergence_level: Literal["1", "2", "3", "wide"] = "1"  # strength of the views; wide: 0 to 16
    seed: int = 71  # of all that is drawn
    short_sides: tuple[int, ...] = (720, 1080, 1080)  # frames are resized to one of these short sides, pixels
    image_format: Literal["webp", "png", "jpeg"] = "webp"  # of frames: webp and png lose nothing
    mask_model: str = ""  # iw3's mask_mlbw file, the learned holes of upright clips (default: the forward warp)
    max_shard_bytes: str = "1GB"  # a shard is closed, and the next begun, by the first clip past this size
    device: str = "auto"  # auto, cpu, cuda or cuda:N
    max_workers: int = 0  # processes (0: one a GPU, or one for every two cores; under torchrun 1 a rank)
    overwrite: bool = False  # replace what was packed from these videos under this prefix and model type
    dry_run: bool = False  # say what is done, what is to do and what clashes, and write nothing

    ALIASES = {"dataset_dir": ("--video",), "data_dir": ("-o",)}  # noqa: RUF012

    def __post_init__(self):
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
            raise UserError(f"--max-fps {self.max_fps} is not a rate: pass a number above 0, such as 30")
        if self.resolution is not None:
            self._at_least("resolution", 1)
        self._check_size()
        self._check_names()
        if self.shard_bytes < 1:
            raise UserError(f"--max-shard-bytes {self.max_shard_bytes} is too little: pass 1MB or more")
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
            if not re.fullmatch(r"[\w-]*", name):  # a dot ends a key in a WebDataset tar, a slash would make a folder
                raise UserError(f'{flag} "{name}" cannot be part of a key: use letters, digits, - and _')
        if not self.model_name:
            raise UserError("--model-type is empty: pass Motion, one of iw3's names or a folder that holds a model")
        length = len(f"{self.prefix}_{self.model_name}_12345678".encode())
        if length > LONGEST_NAME:
            raise UserError(
                f"--prefix and --model-type make keys of {length} bytes, a tar has room for {LONGEST_NAME}: "
                f"pass a --prefix that is {length - LONGEST_NAME} bytes shorter"
            )

    @property
    def model_name(self) -> str:
        """The depth model's part of a key: its name, or the name of its folder."""
        if os.sep in self.model_type or Path(self.model_type).is_dir():
            return re.sub(r"[^\w-]", "_", Path(self.model_type).resolve().name)
        return self.model_type

    @property
    def shard_bytes(self) -> int:
        return parse_size("--max-shard-bytes", self.max_shard_bytes)

    def settings(self) -> dict[str, Any]:
        """The settings that records depend on, as an index keeps and compares them."""
        elsewhere = ("dataset_dir", "data_dir", "device", "max_workers", "overwrite", "dry_run")
        settings = {name: value for name, value in asdict(self).items() if name not in elsewhere}
        return settings | {
            "model_type": self.model_name,  # a model's folder may lie elsewhere on another machine
            "max_shard_bytes": self.shard_bytes,
            "short_sides": list(self.short_sides),
            "mask_model": file_sha256(self.mask_model) if self.mask_model else "",
        }
