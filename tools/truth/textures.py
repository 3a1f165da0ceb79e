"""Pictures for scenes, out of videos and of folders of photos."""

import hashlib
import warnings
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pack.shards.images.jpeg import count_scans
from pack.shards.images.limits import MOST_SCANS
from pack.sources import find_videos, fingerprint
from pack.video.reader import probe, read_frames
from tools.cli import MissingFile, UserError, is_shortage, one_line
from tools.cli.files import file_sha256, open_file

FIRST_FRAMES = 3000  # of a video, from which pictures are taken: a whole film would take minutes to decode
LARGEST = (720, 1280)  # height and width of a picture
MOST_PIXELS = 200_000_000  # of a photo, more than cameras make
SMALLEST = 256  # pixels of a photo's shorter side
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}  # of photos, by ending
ZOOMS = (1, 1, 1.4, 2)  # of a large photo, where 1 shows all of its width or height


def find_sources(patterns: Sequence[str]) -> list[Path]:
    """The videos of these files, folders and globs, and the folders that hold photos and no video, sorted.

    Raises MissingFile where one of them has neither.
    """
    folders = [Path(pattern) for pattern in patterns if has_photos_alone(Path(pattern))]
    others = [pattern for pattern in patterns if Path(pattern) not in folders]
    return sorted({*(find_videos(others) if others else []), *folders})


def has_photos_alone(folder: Path) -> bool:
    """Whether this is a folder with photos in it or below it, and no video in it."""
    if not folder.is_dir():
        return False
    try:
        find_videos([str(folder)])
    except MissingFile:
        return bool(find_photos(folder))
    return False


def find_photos(folder: Path) -> list[Path]:
    """All photos in a folder and below it, except hidden ones, in the order of their names."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in FORMATS and path.is_file())
    return sorted(path for path in found if not path.name.startswith("."))


def identify(source: Path) -> dict[str, Any]:
    """What tells a video or a folder of photos from another one, for an index."""
    if source.is_file():
        return fingerprint(source)
    photos = find_photos(source)
    digest = hashlib.sha256()
    for photo in photos:
        digest.update(f"{photo.relative_to(source)} ".encode(errors="surrogateescape"))
        digest.update(bytes.fromhex(file_sha256(photo)))
    return {"video": source.name, "photos": len(photos), "sha256": digest.hexdigest()}


def load_textures(sources: Sequence[Path], count: int, seed: int) -> list[np.ndarray]:  # uint8 (h w 3) each
    """About `count` frames and photos, or crops of large ones, drawn from all sources alike.

    A pure function of the sources, count and seed. Raises UserError for a source that cannot be read.
    """
    if not sources:
        raise UserError("there is no video to cut textures from: name some with --textures")
    random = np.random.Generator(np.random.PCG64([seed, 1]))
    shares = [len(part) for part in np.array_split(np.arange(count), len(sources))]
    pictures = []
    for source, share in zip(sources, shares, strict=True):
        pictures += _photos(source, share, random) if source.is_dir() else _frames(source, share, random)
    return pictures


def _frames(video, count, random):
    frames = min(probe(video).frames or FIRST_FRAMES, FIRST_FRAMES)
    places = {int(place) for place in random.integers(0, frames, count)}
    last = max(places, default=-1)
    return [
        _crop(frame, random)
        for number, frame in enumerate(islice(read_frames(video, 1000), last + 1))
        if number in places
    ]


def _photos(folder, count, random):
    """`count` views of photos; each photo is shown once before one is shown again, so a few may be less than `count`.

    A photo larger than LARGEST is shrunk, because at full size it has less detail per pixel than a film.
    """
    photos = find_photos(folder)
    order = np.concatenate([random.permutation(len(photos)) for _ in range(-(-count // len(photos)))])[:count]
    views = [_view(photos[number], float(random.choice(ZOOMS)), random) for number in order]
    return [view for view in views if view is not None]


def _view(photo, zoom, random):
    try:
        kind = FORMATS[photo.suffix.lower()]
        with open_file(photo) as file:
            if kind == "JPEG" and (scans := count_scans(file.read())) > MOST_SCANS:
                raise UserError(f"{photo} has {scans} scans, expected {MOST_SCANS} or fewer: remove it")
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked below
                image = Image.open(file, formats=[kind])
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise UserError(f"{photo} has {width}x{height} pixels, expected {MOST_PIXELS} or fewer: remove it")
            if min(width, height) < SMALLEST:
                return None
            factor = min(zoom * max(LARGEST[1] / width, LARGEST[0] / height), 1)
            size = round(width * factor), round(height * factor)
            pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))
    except UserError:
        raise
    except Exception as error:  # Pillow passes on what its decoders raise: OSError, struct.error, and more
        if is_shortage(error):
            raise
        words = one_line(error)[:200] or type(error).__name__
        raise UserError(f"{photo} cannot be read: {words}: remove it from the folder") from None
    return _crop(pixels, random)


def _crop(frame, random):
    size = [min(full, most) for full, most in zip(frame.shape[:2], LARGEST, strict=True)]
    y, x = (int(random.integers(full - part + 1)) for full, part in zip(frame.shape[:2], size, strict=True))
    return frame[y : y + size[0], x : x + size[1]].copy()
