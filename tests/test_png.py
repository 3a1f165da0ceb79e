import io
import struct

import numpy as np
import pytest
from PIL import Image

from pack import png, record
from pack.record import decode_image, encode_image
from tests.shards import texture_record

PIXELS = texture_record(3, frames=1, size=101).frames[0]


@pytest.mark.parametrize("box", [(0, 0, 101, 100), (0, 0, 1, 1), (7, 12, 50, 99), (30, 3, 31, 90)])
def test_the_upper_rows_alone_are_decoded_and_are_the_same(box):
    small, corner = png.top_of(encode_image(PIXELS, "png"), box)
    with Image.open(io.BytesIO(small)) as image:
        assert (image.size, corner) == ((101, box[3]), (0, 0))
        assert np.array_equal(np.asarray(image), PIXELS[: box[3]])


def test_what_has_no_other_rows_or_is_interlaced_or_no_png_is_left_as_it_is():
    data = encode_image(PIXELS, "png")
    interlaced = data[:28] + b"\x01" + data[29:]
    for other, box in (
        (data, (0, 0, 5, 101)),
        (data, (0, 0, 5, 102)),
        (interlaced, (0, 0, 5, 5)),
        (b"GIF89a", (0,) * 4),
    ):
        assert png.top_of(other, box) is None


def test_damage_above_the_end_of_the_box_is_found():
    data = encode_image(PIXELS, "png")
    length = struct.unpack(">I", data[33:37])[0]
    with pytest.raises((OSError, SyntaxError)):
        decode_image(data[: 41 + length // 8], "RGB", (0, 0, 50, 100))


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (512, 512)])
def test_a_grey_png_is_read_by_pillow_and_read_back_at_once(shape, monkeypatch):
    pixels = np.random.default_rng(0).choice(np.array([0, 128, 255], np.uint8), shape)
    data = encode_image(pixels, "png")
    with Image.open(io.BytesIO(data)) as image:
        image.verify()
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "L" and np.array_equal(np.asarray(image), pixels)
    monkeypatch.setattr(record.Image, "open", None)
    assert np.array_equal(decode_image(data, "L"), pixels)


def test_a_mask_is_smaller_than_as_pillow_writes_it():
    mask = texture_record(3, frames=1, size=256).masks[0]
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "PNG")
    assert len(encode_image(mask, "png")) < len(out.getvalue())
    assert np.array_equal(decode_image(out.getvalue(), "L"), mask)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_every_other_png_is_left_to_pillow(mode):
    levels = np.linspace(0, 255, 60 * 60).reshape(60, 60)
    image = Image.fromarray(levels.astype(np.uint16)) if mode == "I;16" else Image.fromarray(levels.astype(np.uint8))
    out = io.BytesIO()
    (image if mode == "I;16" else image.convert(mode)).save(out, "PNG")
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
