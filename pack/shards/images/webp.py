"""Decodes a part of a WebP image with the libwebp that Pillow brings.

Pillow decodes the whole image, through the animation decoder and RGBA, which takes twice as long for an average tile.
Lossless WebP is decoded from the top, so rows below the part are never decoded.
"""

import ctypes
import functools

import numpy as np
from PIL import features

from pack.shards.images.limits import LARGEST_SIDE

MODE_RGB = 0
HEADER = 30  # bytes that hold the size of the canvas
ABI = 0x0209  # WEBP_DECODER_ABI_VERSION of decode.h; any libwebp of the same first byte accepts it


class _Output(ctypes.Structure):  # WebPDecBuffer, with the RGBA member of its union
    _fields_ = [
        *((name, ctypes.c_int) for name in ("colorspace", "width", "height", "is_external_memory")),
        ("rgba", ctypes.c_void_p),
        ("stride", ctypes.c_int),
        ("size", ctypes.c_size_t),
        ("rest_of_union", ctypes.c_uint8 * 56),
        ("pad", ctypes.c_uint32 * 4),
        ("private_memory", ctypes.c_void_p),
    ]


class _Options(ctypes.Structure):  # WebPDecoderOptions
    _fields_ = [
        *((name, ctypes.c_int) for name in ("bypass_filtering", "no_fancy_upsampling", "use_cropping")),
        *((name, ctypes.c_int) for name in ("crop_left", "crop_top", "crop_width", "crop_height")),
        ("others", ctypes.c_int * 7),
        ("pad", ctypes.c_uint32 * 5),
    ]


class _Config(ctypes.Structure):  # WebPDecoderConfig
    _fields_ = [("features", ctypes.c_uint32 * 10), ("output", _Output), ("options", _Options)]


def decode_part(data: bytes, box: tuple[int, int, int, int]) -> np.ndarray | None:  # -> uint8 (H W 3)
    """The pixels in box (left, top, right, bottom), or None where libwebp refuses the image or is unavailable."""
    library = _library()
    # of a lossy image, which packing does not write, libwebp decodes other pixels beside the edges of a part
    lossless = data[12:16] == b"VP8L" or (data[12:16] == b"VP8X" and data[HEADER : HEADER + 4] == b"VP8L")
    if not lossless or max(canvas_size(data[:HEADER]) or (0,)) > LARGEST_SIDE:
        return None
    config = _Config()
    if not library or not library.WebPInitDecoderConfigInternal(ctypes.byref(config), ABI):
        return None
    left, top = box[0] // 2 * 2, box[1] // 2 * 2  # libwebp may move the corner to even coordinates
    pixels = np.empty((box[3] - top, box[2] - left, 3), np.uint8)
    options, output = config.options, config.output
    options.use_cropping, options.crop_left, options.crop_top = 1, left, top
    options.crop_height, options.crop_width = pixels.shape[:2]
    output.colorspace, output.is_external_memory = MODE_RGB, 1
    output.rgba, output.stride, output.size = pixels.ctypes.data, pixels.strides[0], pixels.nbytes
    status = library.WebPDecode(data, ctypes.c_size_t(len(data)), ctypes.byref(config))
    return None if status else pixels[box[1] - top :, box[0] - left :]


def canvas_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the header of a WebP (its first HEADER bytes); None for any other file.

    WebP container specification: VP8X has the canvas in 24 bits a side, VP8L and VP8 in 14.
    """
    if data[:4] + data[8:12] != b"RIFFWEBP":
        return None
    data = data.ljust(HEADER, b"\0")
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


@functools.cache
def _library() -> ctypes.CDLL | None:
    if not features.check("webp"):
        return None
    from PIL import _webp  # not a public name, but the only one that leads to the libwebp that Pillow brings

    library = ctypes.CDLL(_webp.__file__)  # its symbols include those of the libraries that it is linked to
    return library if hasattr(library, "WebPDecode") and hasattr(library, "WebPInitDecoderConfigInternal") else None
