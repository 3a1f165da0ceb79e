import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pack.shards.images import image_file, png
from pack.shards.images.image_file import CorruptImage
from pack.shards.record import decode_image, encode_image
from tests.support.shards import texture_record

PIXELS = texture_record(3, frames=1, size=101).frames[0]


BOXES = [(0, 0, 101, 101), (0, 0, 1, 1), (7, 12, 50, 99), (30, 3, 31, 90)]


def filtered(pixels, filters):
    """An RGB PNG of these pixels whose rows have these filters, in two chunks with another one between them."""
    height, width = pixels.shape[:2]
    flat = np.pad(pixels.reshape(height, -1).astype(int), ((1, 0), (3, 0)))  # 0 above and to the left
    left, above, corner = flat[1:, :-3], flat[:-1, 3:], flat[:-1, :-3]
    near = np.stack((left, above, corner))
    nearest = np.abs(near - (left + above - corner)).argmin(0)  # the first one on ties
    paeth = np.take_along_axis(near, nearest[None], 0)[0]
    nothing = np.zeros_like(left)
    guesses = np.stack((nothing, left, above, (left + above) // 2, paeth, nothing))  # there is no filter 5
    rows = flat[1:, 3:] - guesses[filters, np.arange(height)]
    content = zlib.compress(np.concatenate((np.array(filters)[:, None], rows), 1).astype(np.uint8))
    chunks = [(b"IHDR", struct.pack(">II", width, height) + png.COLOUR), (b"tEXt", b"a\0b"), (b"IDAT", content[:99])]
    chunks += [(b"IDAT", content[99:]), (b"IEND", b"")]
    return png.SIGNATURE + b"".join(png._chunk(name, content) for name, content in chunks)


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, "each in turn"])
def test_a_part_is_decoded_as_pillow_decodes_the_whole(kind, box, monkeypatch):
    filters = [row % 5 if kind == "each in turn" else kind for row in range(101)]
    data = filtered(PIXELS, filters)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(image), PIXELS)
    left, top, right, bottom = box
    monkeypatch.setattr(image_file.Image, "open", None)
    assert np.array_equal(decode_image(data, "RGB", box), PIXELS[top:bottom, left:right])


@pytest.mark.parametrize("box", BOXES)
def test_a_part_is_the_same_from_our_decoder_and_from_pillow(box, monkeypatch):
    left, top, right, bottom = box
    data = encode_image(PIXELS, "png")
    assert np.array_equal(png.decode_part(data, box), PIXELS[top:bottom, left:right])
    monkeypatch.setattr(png, "decode_part", lambda *_: None)
    assert np.array_equal(decode_image(data, "RGB", box), PIXELS[top:bottom, left:right])


def test_what_does_not_hold_the_box_or_is_no_plain_rgb_png_is_left_to_pillow():
    data = encode_image(PIXELS, "png")
    interlaced = data[:28] + b"\x01" + data[29:]
    grey = encode_image(PIXELS[..., 0], "png")
    for other, box in (
        (data, (0, 0, 5, 102)),
        (data, (0, 0, 102, 5)),
        (interlaced, (0, 0, 5, 5)),
        (grey, (0, 0, 5, 5)),
        (filtered(PIXELS, [0] * 4 + [5] * 97), (0, 0, 5, 5)),
        (data[:30], (0, 0, 5, 5)),
        (b"GIF89a", (0, 0, 5, 5)),
    ):
        assert png.decode_part(other, box) is None


def test_damage_above_the_end_of_the_box_is_found():
    data = encode_image(PIXELS, "png")
    length = struct.unpack(">I", data[33:37])[0]
    with pytest.raises(CorruptImage):
        decode_image(data[: 41 + length // 8], "RGB", (0, 0, 50, 100))
    with pytest.raises(CorruptImage):
        decode_image(data[:60] + b"\xff" * 40 + data[100:], "RGB", (0, 0, 50, 100))


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (512, 512)])
def test_a_grey_png_is_read_by_pillow_and_read_back_at_once(shape, monkeypatch):
    pixels = np.random.default_rng(0).choice(np.array([0, 128, 255], np.uint8), shape)
    data = encode_image(pixels, "png")
    with Image.open(io.BytesIO(data)) as image:
        image.verify()
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "L" and np.array_equal(np.asarray(image), pixels)
    monkeypatch.setattr(image_file.Image, "open", None)
    assert np.array_equal(decode_image(data, "L"), pixels)


def test_a_mask_is_smaller_than_as_pillow_writes_it():
    mask = texture_record(3, frames=1, size=256).masks[0]
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "PNG")
    assert len(encode_image(mask, "png")) < len(out.getvalue())
    assert np.array_equal(decode_image(out.getvalue(), "L"), mask)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_every_other_png_is_left_to_pillow(mode):
    levels = np.linspace(0, 255, 60 * 60).reshape(60, 60)
    out = io.BytesIO()
    Image.fromarray(levels.astype(np.uint8)).convert(mode).save(out, "PNG")
    with Image.open(io.BytesIO(out.getvalue())) as image:
        assert image.mode == mode
        assert np.array_equal(decode_image(out.getvalue(), "L"), np.asarray(image.convert("L")))


def test_a_damaged_grey_png_is_refused_as_pillow_refuses_it():
    data = encode_image(texture_record(3, frames=1, size=64).masks[0], "png")
    for at in range(33, len(data) - 12):
        bad = data[:at] + bytes((data[at] ^ 0x55,)) + data[at + 1 :]
        found = png.decode_grey(bad)
        # what inflates to as many bytes with a right checksum differs only in the chunk's own checksum
        assert found is None or np.array_equal(found, png.decode_grey(data)), at
    for length in range(len(data) - 16):
        assert png.decode_grey(data[:length]) is None
