"""Depth maps that another program wrote: iw3's export folders, numbered PNG, NPY or NPZ files, and arrays.

T maps of a film, h, w size of a map. Values keep the polarity of the file; 8- and 16-bit integers become [0, 1].
Which map belongs to which frame is decided in pack/film_depth.py, which also reads grey videos.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml
from PIL import Image, UnidentifiedImageError

from tools.cli import MissingFile, UserError, one_line

log = logging.getLogger(__name__)

EXPORT = "iw3_export.yml"  # iw3 writes it last
IMAGES = (".png",)
ARRAYS = (".npy", ".npz")
LONGEST_YAML = 2**24  # bytes: a million scene boundaries
METRIC = re.compile(r"ZoeD_.*|Any_V2_[NK](_[SBL])?")  # iw3's models that estimate metres


class Maps(Protocol):
    """The depth maps of a film, in order."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...  # -> float32 (h w)

    def label(self, index: int) -> str:
        """What a message calls this map: its file, or its place in the file."""
        ...


@dataclass(frozen=True)
class Export:
    """What iw3_export.yml says about the depth beside it."""

    folder: Path
    model_type: str  # "" where it is not stated
    fps: Fraction
    depth_dir: Path
    rgb_dir: Path | None  # None: the frames are those of the film
    audio_file: Path | None
    mapper: str  # to be applied when the depth is used; "" where it is not stated
    is_disparity: bool  # a mapper and the dilation of edges are applied already
    boundaries: frozenset[int]  # numbers of the maps that begin a scene
    is_ours: bool  # written by `make film`: numbers count the film's frames, the range is that of the shot


class FileMaps:
    """Maps in files of their own."""

    def __init__(self, paths: Sequence[Path]):
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:  # -> float32 (h w)
        return read_map(self.paths[index])

    def label(self, index: int) -> str:
        return str(self.paths[index])


class ArrayMaps:
    """Maps in one array (T h w) of an NPY or NPZ file."""

    def __init__(self, path: Path):
        self.path, self.maps = path, load_array(path)
        if self.maps.ndim == 4 and 1 in (self.maps.shape[1], self.maps.shape[3]):
            self.maps = self.maps.squeeze(1 if self.maps.shape[1] == 1 else 3)
        if self.maps.ndim != 3 or 0 in self.maps.shape:
            raise UserError(f"{path} holds an array {self.maps.shape}, expected depth maps (T, h, w)")

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index: int) -> np.ndarray:  # -> float32 (h w)
        return as_float(self.maps[index], f"{self.path}[{index}]")

    def label(self, index: int) -> str:
        return f"{self.path}[{index}]"


def read_export(folder: Path) -> Export:
    """The export in this folder. Raises UserError where iw3_export.yml is missing, damaged or not of a film."""
    path = folder / EXPORT
    if not path.is_file():
        raise MissingFile(
            f"{folder} has depth/ but no {EXPORT}, which iw3 writes last: the export is not finished, run it again"
        )
    found = parse_yaml(path)
    if found.get("type") != "video":
        raise UserError(f"{path} describes {found.get('type')!r}, expected the export of a video")
    user_data = _mapping(path, found, "user_data")
    options = _mapping(path, user_data, "export_options")
    skips = bool(found.get("skip_mapper"))
    depth_dir = _folder(folder, found.get("depth_dir") or "depth")
    if not depth_dir.is_dir():
        raise MissingFile(f"{path} names the folder {depth_dir} of its depth, which is missing: copy the whole export")
    return Export(
        folder=folder,
        model_type=str(options.get("depth_model") or ""),
        fps=_fps(path, found.get("fps")),
        depth_dir=depth_dir,
        rgb_dir=_folder(folder, found["rgb_dir"]) if found.get("rgb_dir") else None,
        audio_file=folder / str(found["audio_file"]) if found.get("audio_file") else None,
        mapper="none" if skips else str(found.get("mapper") or ""),
        is_disparity=skips,
        boundaries=_numbers(path, user_data.get("scene_boundary")),
        is_ours=bool(user_data.get("backfill")),
    )


def parse_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises UserError."""
    if path.stat().st_size > LONGEST_YAML:
        raise UserError(f"{path} has {path.stat().st_size} bytes, expected a short text: export the depth again")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML ({one_line(error)}): export the depth again") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no mapping, expected type, fps, depth_dir and others: export the depth again")
    return found


def _mapping(path, found, name):
    value = found.get(name) or {}
    if not isinstance(value, dict):
        raise UserError(f"{path}: {name} is {value!r}, expected a mapping: export the depth again")
    return value


def _folder(folder, name):
    """A folder that the YAML names; where it was absolute and the export has been moved, the one beside the YAML."""
    path = folder / str(name)
    return path if path.is_dir() else folder / Path(str(name)).name


def _fps(path: Path, value: Any) -> Fraction:
    try:
        fps = Fraction(str(value)).limit_denominator(1001)
        if fps > 0:
            return fps
    except (ValueError, ZeroDivisionError, OverflowError):
        pass
    raise UserError(f"{path}: fps is {value!r}, expected a number or a fraction such as 30000/1001")


def _numbers(path: Path, value: Any) -> frozenset[int]:
    words = [word.strip() for word in str(value).split(",")] if value not in (None, "") else []
    if not all(word.isdecimal() for word in words):
        raise UserError(f"{path}: scene_boundary is {value!r:.60}, expected numbers of frames with commas between")
    return frozenset(map(int, words))


def find_maps(folder: Path) -> dict[int, Path]:
    """The files of maps in a folder by the number at the end of their names, ascending. Raises UserError."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        digits = re.search(r"\d+$", path.stem)
        if path.name.startswith(".") or path.suffix.lower() not in (*IMAGES, *ARRAYS) or not digits:
            continue
        number = int(digits[0])
        if number in found:
            raise UserError(f"{found[number]} and {path} are both number {number}: expected one map per frame")
        found[number] = path
    if not found:
        raise MissingFile(f"{folder} holds no depth maps: expected files such as 000000.png, with 16 bits")
    return dict(sorted(found.items()))


def file_named(like: Path, number: int) -> str:
    """The name that the map of this number would have beside `like`, for messages."""
    digits = re.search(r"\d+$", like.stem)
    width = len(digits[0]) if digits else 1
    return f"{like.stem[: -width or None]}{number:0{width}d}{like.suffix}"


def read_map(path: Path) -> np.ndarray:  # -> float32 (h w)
    """A map from an image or an array file. Raises UserError where it is neither or has colours."""
    if path.suffix.lower() in ARRAYS:
        return as_float(load_array(path).squeeze(), str(path))
    try:
        with Image.open(path) as image:
            if not (image.mode == "L" or image.mode.startswith("I")):
                raise UserError(f"{path} is an image of kind {image.mode}, expected 16-bit grey")
            return as_float(np.asarray(image), str(path))
    except (UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is not an image that can be read: export or copy it again") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise UserError(f"{path} is cut short or damaged: export or copy it again") from error


def load_array(path: Path) -> np.ndarray:
    """The array of an NPY file, or the one called depth, or the only one, of an NPZ file. Raises UserError."""
    try:
        loaded = np.load(path, mmap_mode="r" if path.suffix.lower() == ".npy" else None, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            names = list(loaded)
            if "depth" not in names and len(names) != 1:
                raise UserError(f"{path} holds {', '.join(names) or 'nothing'}, expected one array, or one named depth")
            return loaded["depth" if "depth" in names else names[0]]
    except UserError:
        raise
    except (ValueError, EOFError, KeyError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(f"{path} is not an array that can be read ({one_line(error)}): export it again") from error
    except Exception as error:  # zipfile and zlib have exceptions of their own for a damaged file
        raise UserError(f"{path} is damaged ({one_line(error)}): export or copy it again") from error


def as_float(values: np.ndarray, label: str) -> np.ndarray:  # (h w) -> float32 (h w)
    """The map in float32, integers of 8 and 16 bits scaled to [0, 1]. Raises UserError for anything else."""
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "fiu":
        raise UserError(f"{label} is {values.dtype} of shape {values.shape}, expected a map (h, w) of numbers")
    if values.dtype in (np.uint8, np.uint16):
        return values.astype(np.float32) / np.iinfo(values.dtype).max
    if values.dtype == np.int32:  # how Pillow gives some 16-bit images
        return values.astype(np.float32) / 65535
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"{label} holds NaN or infinity, expected finite depth: export it again")
    return values


def listing(source: Path) -> Iterator[tuple[str, int]]:
    """Name and bytes of each file of a depth source, sorted: what identifies it without reading it all."""
    paths = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
    for path in paths:
        yield (path.relative_to(source).as_posix() if source.is_dir() else path.name), path.stat().st_size
