"""Clips of two cameras, or of a renderer, with the disparity of both eyes: scenes for evaluation from files.

T frames, H height, W width. A point that the left eye sees at column x with disparity d is at x - d in the right eye.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.light_video_inpaint import FRAMES
from pack.depth.files import ARRAYS, IMAGES, find_numbered, read_map
from pack.shards.images.image_file import open_image, to_pixels
from pack.shards.untrusted import CorruptRecord
from tools.cli import MissingFile, UserError
from tools.evaluation.network_fill import STREAM
from tools.stereo_truth.compare import Scene

EYES = ("left", "right")
DISPARITIES = ("disparity", "disparity-right")  # of the left and of the right eye
PICTURES = (".png", ".webp", ".jpg", ".jpeg")
PNG_SCALE = 65535 / 256  # 16-bit images hold 256 times the disparity, as those of KITTI do
HIDDEN = 1.0  # pixels by which what the left eye shows at a point's place must be nearer than the point


def find_pairs(folders: Sequence[str]) -> list[Path]:
    """The clips in these folders, which are a clip themselves or hold clips, by name. Raises MissingFile."""
    found = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise MissingFile(f"--pairs {folder} is no folder: expected one that holds {', '.join(EYES)} and more")
        inside = sorted(path for path in folder.iterdir() if is_pair(path) and not path.name.startswith("."))
        clips = [folder] if is_pair(folder) else inside
        if not clips:
            raise MissingFile(
                f"--pairs {folder}: expected folders {', '.join(EYES + DISPARITIES)} in it, or clips that hold these"
            )
        found += clips
    names = [clip.name for clip in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"--pairs names two clips {twice}: rename one of them")
    return found


def is_pair(folder: Path) -> bool:
    """Whether this is the folder of a clip."""
    return all((folder / name).is_dir() for name in EYES)


def read_pairs(clips: Sequence[Path]) -> Iterator[Scene]:
    """The scenes of these clips in turn. Raises UserError for one that is not whole or does not fit."""
    return (read_pair(folder, number) for number, folder in enumerate(clips))


def read_pair(folder: Path, seed: int = 0) -> Scene:
    """The scene of a clip: the first 16 frames of `left`, `right`, `disparity` and `disparity-right`.

    Each holds one file a frame, whose names end in the frame's number: pictures, and disparities in pixels of the
    picture as NPY or PFM, or times 256 as 16-bit PNG. Raises UserError, which names what is missing or does not fit.
    """
    kinds = (*EYES, *DISPARITIES)
    files = {kind: find_files(folder / kind, PICTURES if kind in EYES else (*IMAGES, *ARRAYS)) for kind in kinds}
    numbers = list(files["left"])[:STREAM]
    if len(numbers) < FRAMES:
        raise UserError(f"{folder / 'left'} holds {len(numbers)} frames, expected {FRAMES} or more")
    for kind, found in files.items():
        if missing := [number for number in numbers if number not in found]:
            raise UserError(f"{folder / kind} lacks frame {missing[0]}, which {folder / 'left'} has")
    left, right = (stack([read_picture(files[kind][n]) for n in numbers], folder / kind) for kind in EYES)
    near, other = (stack([read_disparity(files[kind][n]) for n in numbers], folder / kind) for kind in DISPARITIES)
    for kind, values in zip(kinds, (left, right, near, other), strict=True):
        if values.shape[:3] != left.shape[:3]:
            sizes = (f"{one.shape[2]}x{one.shape[1]}" for one in (values, left))
            raise UserError("{}: {} is of {}, left of {}: expected one size".format(folder, kind, *sizes))
    return make_scene(folder.name, left, right, near, other, seed)


def find_files(folder: Path, endings: Sequence[str]) -> dict[int, Path]:
    """The files of a folder by the number that their names end in."""
    if not folder.is_dir():
        raise MissingFile(f"{folder} is missing: a clip with a true second eye has {', '.join(EYES + DISPARITIES)}")
    return find_numbered(folder, endings)


def make_scene(
    name: str, left: np.ndarray, right: np.ndarray, disparity: np.ndarray, other: np.ndarray, seed: int = 0
) -> Scene:  # uint8 (T H W 3) twice, float32 (T H W) twice
    """The scene of both eyes and their disparities: nearness is the left eye's, normalised over the clip."""
    low, high = float(disparity.min()), float(disparity.max())
    width, longest = left.shape[2], max(left.shape[1:3])
    shift = max(high - low, 1e-3)
    margin = math.ceil(max(abs(low), abs(high)))
    if width <= 2 * margin + 64:
        raise UserError(f"{name}: a disparity of {margin} pixels leaves nothing of {width} columns to measure")
    return Scene(
        name,
        seed,
        left,
        right,
        (disparity - low) / np.float32(shift),
        hidden_pixels(disparity, other),
        100 * shift / longest,
        -low / shift,
        strength=100 * shift / width,
        margin=margin,
    )


def hidden_pixels(disparity: np.ndarray, other: np.ndarray) -> NDArray[np.bool_]:  # (T H W) twice -> (T H W)
    """The pixels of the right eye whose point something nearer hides in the left eye.

    A point at column x with disparity d is at x + d in the left eye, between two of its columns. It is hidden where
    both show something that is nearer by more than a pixel of disparity: this is the left-right check of stereo
    matching (Fua, Machine Vision and Applications 1993), with the true disparities.
    """
    last = disparity.shape[2] - 1
    at = np.arange(last + 1) + other
    before, after = (np.clip(side(at), 0, last).astype(np.int64) for side in (np.floor, np.ceil))
    shown = np.minimum(np.take_along_axis(disparity, before, 2), np.take_along_axis(disparity, after, 2))
    return (shown > other + HIDDEN) & (at >= 0) & (at <= last)


def read_picture(path: Path) -> np.ndarray:  # -> uint8 (H W 3)
    try:
        with open_image(path) as image:
            return to_pixels(image, "RGB")
    except CorruptRecord as error:
        raise UserError(f"{path}: {error}") from error


def read_disparity(path: Path) -> np.ndarray:  # -> float32 (H W)
    """Disparity in pixels, positive where the point is further right in the left eye."""
    values = read_map(path)
    return values * np.float32(PNG_SCALE) if path.suffix.lower() == ".png" else values


def stack(frames: Sequence[np.ndarray], folder: Path) -> np.ndarray:
    """The frames (H W ...) of a folder in one array (T H W ...). Raises UserError where their sizes differ."""
    shapes = {frame.shape[:2] for frame in frames}
    if len(shapes) > 1:
        sizes = " and ".join(f"{width}x{height}" for height, width in sorted(shapes))
        raise UserError(f"{folder} holds frames of {sizes}, expected one size")
    return np.stack(frames)
