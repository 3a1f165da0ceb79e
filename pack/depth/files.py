"""Depth maps that another program wrote: numbered PNG, PFM, NPY or NPZ files, and arrays.

T maps of a film, h, w size of a map. Values keep the polarity of the file; 8- and 16-bit integers become [0, 1].
Which map belongs to which frame is decided in pack/film_depth.py, which also reads grey videos.
"""

import logging
import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from tools.cli import MissingFile, UserError, is_of_machine, is_shortage, one_line
from tools.cli.arrays import read_member
from tools.cli.files import open_file
from tools.cli.machine import memory_bytes
from tools.cli.sizes import format_size

log = logging.getLogger(__name__)

IMAGES = {".png": ("PNG", ("L", "I")), ".pfm": ("PPM", ("F",))}  # by ending: Pillow's names of format and grey kinds
ARRAYS = (".npy", ".npz")
LARGEST_SIDE = 8192  # pixels of a map
METRIC = re.compile(r"ZoeD_.*|Any_V2_[NK](_[SBL])?")  # iw3's models that estimate metres


class Maps(Protocol):
    """The depth maps of a film, in order."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...  # -> float32 (h w)

    def label(self, index: int) -> str:
        """What a message calls this map: its file, or its place in the file."""
        ...


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


def find_maps(folder: Path) -> dict[int, Path]:
    """The files of maps in a folder by the number at the end of their names, ascending. Raises UserError."""
    found = find_numbered(folder, (*IMAGES, *ARRAYS))
    if not found:
        raise MissingFile(f"{folder} holds no depth maps: expected files such as 000000.png, with 16 bits")
    return found


def find_numbered(folder: Path, endings: Iterable[str]) -> dict[int, Path]:
    """The files of these endings by the number at the end of their names, ascending. Raises UserError."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        digits = re.search(r"\d+$", path.stem)
        if path.name.startswith(".") or path.suffix.lower() not in endings or not digits:
            continue
        number = int(digits[0])
        if number in found:
            raise UserError(f"{found[number]} and {path} are both number {number}: expected one file per frame")
        found[number] = path
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
        kind, greys = IMAGES[path.suffix.lower()]
        with open_file(path) as file, Image.open(file, formats=[kind]) as image:
            if max(image.size) > LARGEST_SIDE:
                raise UserError(f"{path} is {image.width}x{image.height}, expected sides up to {LARGEST_SIDE} pixels")
            if image.mode.partition(";")[0] not in greys:
                raise UserError(f"{path} is an image of kind {image.mode}, expected 16-bit grey")
            return as_float(np.asarray(image), str(path))
    except UserError:
        raise
    except Exception as error:  # Pillow passes on what its decoders raise: OSError, SyntaxError, struct.error and more
        if is_of_machine(error):
            raise
        raise UserError(f"{path} is cut short, damaged or no {kind}: export or copy it again") from error


def load_array(path: Path) -> np.ndarray:
    """The array of an NPY file, or the one called depth, or the only one, of an NPZ file. Raises UserError."""
    try:
        open_file(path).close()  # which refuses pipes
        loaded = np.load(path, mmap_mode="r" if path.suffix.lower() == ".npy" else None, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            names = list(loaded)
            if "depth" not in names and len(names) != 1:
                raise UserError(f"{path} holds {', '.join(names) or 'nothing'}, expected one array, or one named depth")
            name = "depth" if "depth" in names else names[0]
            _check_room(path, loaded.zip, name)
            return read_member(loaded, name)
    except UserError:
        raise
    except (ValueError, EOFError, KeyError, OSError) as error:
        if is_of_machine(error):
            raise
        raise UserError(f"{path} is not an array that can be read ({one_line(error)}): export it again") from error
    except Exception as error:  # zipfile and zlib have exceptions of their own for a damaged file
        if is_shortage(error):
            raise
        raise UserError(f"{path} is damaged ({one_line(error)}): export or copy it again") from error


def _check_room(path: Path, archive: zipfile.ZipFile, name: str) -> None:
    """Raise UserError where an array of an NPZ file, which is read whole, would not fit into memory."""
    size = sum(member.file_size for member in archive.infolist() if member.filename in (name, f"{name}.npy"))
    if size > memory_bytes() // 2:
        raise UserError(
            f"{path} holds an array of {format_size(size)}, more than half of the memory: save it as .npy, which is "
            f"read frame by frame"
        )


def as_float(values: np.ndarray, label: str) -> np.ndarray:  # (h w) -> float32 (h w)
    """The map in float32, integers of 8 and 16 bits scaled to [0, 1]. Raises UserError for anything else."""
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "fiu":
        raise UserError(f"{label} is {values.dtype} of shape {values.shape}, expected a map (h, w) of numbers")
    if values.dtype in (np.uint8, np.uint16):
        return values.astype(np.float32) / np.iinfo(values.dtype).max
    if values.dtype == np.int32:  # how Pillow gives some 16-bit images
        return values.astype(np.float32) / 65535
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"{label} holds NaN or infinity, expected finite depth: export it again")
    return values
