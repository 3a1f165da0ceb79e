"""Image files of records: PNG, WebP or JPEG bytes to pixels and back, the whole image or a part of it.

Nothing else of what Pillow reads is opened, and no image is decoded before its size is known to be reasonable.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from pack.shards.images import jpeg, png, webp
from pack.shards.images.limits import LARGEST_SIDE, MOST_SCANS
from pack.shards.untrusted import CorruptRecord
from tools.cli import UserError, is_shortage, plural
from tools.cli.files import open_file

Box = tuple[int, int, int, int]  # left, top, right, bottom, pixels
FORMATS = ("PNG", "WEBP", "JPEG")
DECODING = 16  # bytes a pixel that decoding takes at most: two canvases of RGBA, libwebp's own ARGB, and the result
SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    # about 0.7 of PNG's bytes, decoded faster; more effort saves a fifth and takes four to seven times as long
    "webp": {"format": "WEBP", "lossless": True, "method": 0, "quality": 0},
    "png": {"format": "PNG"},
    "jpeg": {"format": "JPEG", "quality": 95, "subsampling": "4:4:4"},
}


class CorruptImage(CorruptRecord):
    """An image file that cannot be decoded, or is not of a kind that records have."""


def encode_image(pixels: np.ndarray, image_format: str) -> bytes:  # uint8 (H W 3) or (H W)
    """The bytes of an image file. Raises UserError where the image is too large to be read back."""
    if max(pixels.shape[:2]) > LARGEST_SIDE:
        raise UserError(f"an image of {pixels.shape[1]}x{pixels.shape[0]} pixels, expected sides up to {LARGEST_SIDE}")
    if image_format == "png" and pixels.ndim == 2:
        return png.encode_grey(pixels)
    out, options = io.BytesIO(), SAVE_OPTIONS[image_format]
    if image_format == "jpeg":
        options = options | {"restart_marker_blocks": jpeg.restart_interval(pixels.shape[1])}
    Image.fromarray(pixels).save(out, **options)
    return out.getvalue()


def decode_image(data: bytes, mode: str, box: Box | None = None) -> np.ndarray:  # -> uint8 (H W 3) of RGB, (H W) of L
    """The pixels of an image file, or of a box in it, for which no more is decoded than necessary.

    Raises CorruptImage, or MemoryError.
    """
    if box and mode == "RGB":
        decode_part = webp.decode_part if data[8:12] == b"WEBP" else png.decode_part
        if (part := decode_part(data, box)) is not None:
            return part
    if not box and mode == "L" and (pixels := png.decode_grey(data)) is not None:
        return pixels
    if box and (smaller := jpeg.part_of(data, box)) is not None:
        data, (left, top) = smaller
        box = box[0] - left, box[1] - top, box[2] - left, box[3] - top
    with open_image(io.BytesIO(data)) as image:
        if box and (box[2] > image.width or box[3] > image.height):
            raise CorruptImage(f"an image of {image.width}x{image.height} does not hold the box {box}: pack it again")
        return to_pixels(image, mode, box)


def to_pixels(image: Image.Image, mode: str, box: Box | None = None) -> np.ndarray:
    """The pixels of an image of `open_image`, or of a box in it. Raises CorruptImage, also for transparent pixels."""
    with _reading(image.size):
        opaque = not image.has_transparency_data or image.convert("RGBA").getextrema()[3][0] == 255
        shown = image if image.mode == mode else image.convert(mode)
        pixels = np.asarray(shown.crop(box) if box else shown)
    if not opaque:
        raise CorruptImage("found an image with transparent pixels, expected opaque ones")
    return pixels


@contextlib.contextmanager
def open_image(file: BinaryIO | Path) -> Iterator[Image.Image]:
    """An image of one frame whose pixels are not read yet. Raises CorruptImage, also where its pixels turn out bad.

    Raises OSError when the file cannot be opened, MemoryError when its pixels do not fit into memory.
    """
    if isinstance(file, Path):
        with open_file(file) as opened, open_image(opened) as image:
            yield image
        return
    head = file.read(webp.HEADER)
    size = webp.canvas_size(head)
    scans = jpeg.count_scans(head + file.read()) if head.startswith(jpeg.BEGIN) else 0
    if scans > MOST_SCANS:
        raise CorruptImage(f"found a JPEG of {scans} scans, expected {MOST_SCANS} or fewer")
    file.seek(0)
    if size:
        _check_size(*size)  # Pillow allocates the whole canvas when it opens a WebP
    with _reading(size or (0, 0)):
        image = Image.open(file, formats=FORMATS)
    with image:
        _check_size(*image.size)
        with _reading(image.size):
            frames = getattr(image, "n_frames", 1)
        if frames != 1:
            raise CorruptImage(f"found {plural(frames, 'frame')} in one image file, expected 1")
        if image.mode == "CMYK":
            raise CorruptImage("found a CMYK image, expected RGB or grey")
        if image.format == "PNG" and head[24] > 8:  # bits per channel, which Pillow would cut or clip
            raise CorruptImage(f"found an image of {head[24]} bits per channel, expected 8")
        yield image


@contextlib.contextmanager
def _reading(size: tuple[int, int]) -> Iterator[None]:
    """Inside the block, which only calls Pillow, every exception but a lack of memory becomes CorruptImage.

    Pillow passes on the exceptions of its decoders: OSError, SyntaxError, ValueError, struct.error, EOFError,
    DecompressionBombError, and more. For want of memory libwebp and libjpeg fail as for a damaged file: an image of
    this size is refused only when the memory that decoding it takes is there.
    """
    try:
        yield
    except Exception as error:
        if is_shortage(error):
            raise
        np.empty((*size, DECODING), np.uint8)  # raises MemoryError
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise CorruptImage(f"cannot be decoded ({words})") from error


def _check_size(width: int, height: int) -> None:
    if not (0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE):
        raise CorruptImage(f"found an image of {width}x{height} pixels, expected sides up to {LARGEST_SIDE}")
