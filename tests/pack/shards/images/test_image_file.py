"""Which images are decoded at all."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pack.shards.images import png
from pack.shards.images.image_file import DECODING, CorruptImage, decode_image, encode_image
from pack.shards.images.limits import LARGEST_SIDE
from tools.cli import UserError


def saved(image, **options):
    out = io.BytesIO()
    image.save(out, **options)
    return out.getvalue()


def huge_png(width, height, kind):
    """A PNG of few bytes whose header promises this size."""
    header = struct.pack(">II", width, height) + kind
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(10**6), 9)), (b"IEND", b""))
    return png.SIGNATURE + b"".join(png._chunk(name, content) for name, content in chunks)


def huge_webp(width, height):
    bits = (width - 1) | (height - 1) << 14
    content = b"VP8L" + struct.pack("<I", 32) + b"\x2f" + struct.pack("<I", bits) + bytes(27)
    return b"RIFF" + struct.pack("<I", 4 + len(content)) + b"WEBP" + content


def huge_jpeg(width, height):
    data = saved(Image.new("RGB", (64, 64)), format="JPEG", restart_marker_blocks=8)
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("box", [None, (0, 0, 8, 8)])
def test_a_jpeg_of_thousands_of_passes_over_its_pixels_is_refused_before_it_is_decoded(box, mode):
    *begin, last = saved(Image.new("L", (64, 64)), format="JPEG", progressive=True).split(b"\xff\xda")
    usual, scans = (b"\xff\xda".join([*begin, *[last[:-2]] * count]) + last[-2:] for count in (5, 5000))
    assert decode_image(usual, mode, box).shape[:2] in ((64, 64), (8, 8))
    with pytest.raises(CorruptImage, match=r"found a JPEG of 500\d scans, expected 100 or fewer"):
        decode_image(scans, mode, box)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("box", [None, (0, 0, 64, 64)])
@pytest.mark.parametrize(
    "data",
    [
        huge_png(60000, 60000, png.COLOUR),
        huge_png(60000, 60000, png.GREY),
        huge_png(LARGEST_SIDE + 1, 1, png.GREY),
        huge_png(2**31 - 1, 2**31 - 1, png.COLOUR),
        huge_webp(16383, 16383),
        huge_jpeg(65500, 65500),
    ],
    ids=["png", "grey", "wide", "widest", "webp", "jpeg"],
)
def test_an_image_that_promises_a_huge_size_is_refused_before_it_is_decoded(data, box, mode):
    with pytest.raises(CorruptImage, match=r"expected sides up to 4096|cannot be decoded"):
        decode_image(data, mode, box)


@pytest.mark.parametrize("image_format", ["GIF", "BMP", "TIFF", "PPM", "ICO", "EPS"])
def test_no_other_format_of_pillow_is_opened(image_format):
    with pytest.raises(CorruptImage, match="cannot be decoded"):
        decode_image(saved(Image.new("RGB", (32, 32)), format=image_format), "RGB")


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_an_animation_is_refused(image_format):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    data = saved(frames[0], format=image_format, save_all=True, append_images=frames[1:])
    with pytest.raises(CorruptImage, match="found 2 frames in one image file"):
        decode_image(data, "RGB")


def test_a_cmyk_image_is_refused():
    for box in (None, (0, 0, 8, 8)):
        with pytest.raises(CorruptImage, match="found a CMYK image"):
            decode_image(saved(Image.new("CMYK", (32, 32)), format="JPEG", restart_marker_blocks=4), "RGB", box)


def test_an_image_that_could_not_be_read_back_is_not_written():
    with pytest.raises(UserError, match="expected sides up to"):
        encode_image(np.zeros((1, LARGEST_SIDE + 1), np.uint8), "png")


def png_of(bits_per_channel, colour_type, channels):
    """A PNG of 8x8 random pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = 8 * channels * bits_per_channel // 8
    rows = b"".join(b"\0" + np.random.default_rng(y).bytes(row) for y in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, bits_per_channel, colour_type, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("colour_type, channels", [(0, 1), (2, 3)])
def test_an_image_of_16_bits_is_refused_because_pillow_would_cut_it(colour_type, channels):
    for mode in ("L", "RGB"):
        with pytest.raises(CorruptImage, match="16 bits per channel"):
            decode_image(png_of(16, colour_type, channels), mode)
        assert decode_image(png_of(8, colour_type, channels), mode).shape[:2] == (8, 8)


def test_transparent_pixels_are_refused_and_opaque_ones_with_an_alpha_channel_are_not():
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 4), np.uint8)
    pixels[..., 3] = 255
    for kwargs in ({"format": "PNG"}, {"format": "WEBP", "lossless": True}):
        assert np.array_equal(decode_image(saved(Image.fromarray(pixels), **kwargs), "RGB"), pixels[..., :3])
        holed = pixels.copy()
        holed[3, 4, 3] = 254
        with pytest.raises(CorruptImage, match="transparent"):
            decode_image(saved(Image.fromarray(holed), **kwargs), "RGB")


@pytest.mark.parametrize("where", ["open", "Image.convert", "Image.crop"])
def test_a_lack_of_memory_is_not_taken_for_a_damaged_image(where, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    data = saved(Image.new("L", (32, 32)), format="JPEG")
    monkeypatch.setattr(f"PIL.Image.{where}", fail)
    with pytest.raises(MemoryError):
        decode_image(data, "RGB", (0, 0, 8, 8))


def test_a_decoder_that_fails_is_believed_only_when_the_image_would_fit_into_memory(monkeypatch):
    asked, empty = [], np.empty

    def full(shape, *_):
        asked.append(int(np.prod(shape)))
        raise MemoryError

    data = encode_image(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8), "webp")
    data = data[: len(data) // 2]  # libwebp says no more of it than where memory is short
    monkeypatch.setattr(np, "empty", full)
    with pytest.raises(MemoryError):
        decode_image(data, "RGB")
    monkeypatch.setattr(np, "empty", empty)
    with pytest.raises(CorruptImage):
        decode_image(data, "RGB")
    assert asked == [40 * 60 * DECODING]
