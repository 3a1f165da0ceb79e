import io

import numpy as np
import pytest
from PIL import Image

from pack.shards.images import image_file, webp
from pack.shards.record import decode_image, encode_image
from tests.support.shards import texture_record

PIXELS = texture_record(3, frames=1, size=101).frames[0]
BOXES = [(0, 0, 101, 101), (0, 0, 1, 1), (100, 100, 101, 101), (7, 12, 50, 99), (30, 3, 31, 90), (2, 4, 66, 68)]


@pytest.mark.parametrize("box", BOXES)
def test_a_part_is_what_pillow_has_in_that_box(box):
    expected = PIXELS[box[1] : box[3], box[0] : box[2]]
    assert np.array_equal(webp.decode_part(encode_image(PIXELS, "webp"), box), expected)


@pytest.mark.parametrize("box", [(50, 0, 102, 50), (0, 50, 50, 102), (200, 200, 210, 210), (-2, 0, 50, 50)])
def test_a_box_that_is_not_all_in_the_image_is_not_decoded(box):
    assert webp.decode_part(encode_image(PIXELS, "webp"), box) is None


def test_what_is_damaged_or_no_webp_is_not_decoded():
    data = encode_image(PIXELS, "webp")
    for bad in (b"", b"RIFF0000WEBP", data[: len(data) // 2], encode_image(PIXELS, "png")):
        assert webp.decode_part(bad, (0, 0, 101, 101)) is None


@pytest.mark.parametrize("has_libwebp", [True, False])
@pytest.mark.parametrize("image_format", ["webp", "png", "jpeg"])
def test_a_box_of_an_image_is_that_box_of_the_whole_image_in_every_format(image_format, has_libwebp, monkeypatch):
    if not has_libwebp:
        monkeypatch.setattr(webp, "_library", lambda: None)
    data = encode_image(PIXELS, image_format)
    for left, top, right, bottom in BOXES:
        found = decode_image(data, "RGB", (left, top, right, bottom))
        assert np.array_equal(found, decode_image(data, "RGB")[top:bottom, left:right])
    with pytest.raises(ValueError, match="101x101 does not hold the box"):
        decode_image(data, "RGB", (50, 50, 102, 102))


def test_a_webp_is_not_left_to_pillow(monkeypatch):
    monkeypatch.setattr(image_file.Image, "open", None)
    assert np.array_equal(decode_image(encode_image(PIXELS, "webp"), "RGB", (3, 5, 60, 70)), PIXELS[5:70, 3:60])


def test_colours_of_an_image_with_transparency_are_those_of_pillow():
    out = io.BytesIO()
    alpha = np.full((101, 101, 1), 255, np.uint8)
    alpha[20:50] = 128
    Image.fromarray(np.concatenate((PIXELS, alpha), -1)).save(out, "WEBP", lossless=True, exact=True)
    with Image.open(io.BytesIO(out.getvalue())) as image:
        colours = np.asarray(image.convert("RGB"))
    assert np.array_equal(webp.decode_part(out.getvalue(), (1, 1, 60, 60)), colours[1:60, 1:60])
