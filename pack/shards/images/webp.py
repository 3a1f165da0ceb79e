"""Decodes a part of a WebP image with the libwebp that Pillow brings.

Pillow decodes the whole image, by way of the animation decoder and RGBA, which takes twice the time of what is done
here for an average tile. Lossless WebP is decoded from the top, so what lies below the part is never looked at.
"""

import ctypes
import functools

import numpy as np
from PIL import features

MODE_RGB = 0
ABI = 0x0209  # WEBP_DECODER_ABI_VERSION of decode.h; any libwebp of the same first byte agrees to it


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
    """The pixels in box (left, top, right, bottom), or None where libwebp does not take it or is not to be had."""
    library = _library()
    config = _Config()
    if not library or not library.WebPInitDecoderConfigInternal(ctypes.byref(config), ABI):
        return None
    left, top = box[0] // 2 * 2, box[1] // 2 * 2  # libwebp may move the corner to an even place
    pixels = np.empty((box[3] - top, box[2] - left, 3), np.uint8)
    options, output = config.options, config.output
    options.use_cropping, options.crop_left, options.crop_top = 1, left, top
    options.crop_height, options.crop_width = pixels.shape[:2]
    output.colorspace, output.is_external_memory = MODE_RGB, 1
    output.rgba, output.stride, output.size = pixels.ctypes.data, pixels.strides[0], pixels.nbytes
    status = library.WebPDecode(data, ctypes.c_size_t(len(data)), ctypes.byref(config))
    return None if status else pixels[box[1] - top :, box[0] - left :]


@functools.cache
def _library() -> ctypes.CDLL | None:
    if not features.check("webp"):
        return None
    from PIL import _webp

    library = ctypes.CDLL(_webp.__file__)  # symbols are looked for in the libraries that it is linked to, too
    return library if hasattr(library, "WebPDecode") and hasattr(library, "WebPInitDecoderConfigInternal") else None
