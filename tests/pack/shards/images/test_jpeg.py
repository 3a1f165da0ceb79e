import io
from itertools import product

import numpy as np
import pytest
from PIL import Image

from pack.shards.images import jpeg
from pack.shards.record import decode_image, encode_image
from tests.support.shards import texture_record

PIXELS = texture_record(3, frames=1, size=192).frames[0]  # 24 blocks, 8 between markers


def saved(pixels=PIXELS, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **{"quality": 95, "subsampling": "4:4:4"} | options)
    return out.getvalue()


@pytest.mark.parametrize("width", [192, 101, 64, 7, 8, 160])
def test_every_box_has_the_pixels_of_the_whole_image(width):
    data = encode_image(PIXELS[:150, :width], "jpeg")
    whole = decode_image(data, "RGB")
    rng = np.random.default_rng(width)
    for _ in range(40):
        (left, right), (top, bottom) = (sorted(rng.choice(size + 1, 2, False).tolist()) for size in (width, 150))
        small, corner = jpeg.part_of(data, (left, top, right, bottom))
        part = decode_image(bytes(small), "RGB")[top - corner[1] :, left - corner[0] :]
        assert np.array_equal(part[: bottom - top, : right - left], whole[top:bottom, left:right])
        assert np.array_equal(decode_image(data, "RGB", (left, top, right, bottom)), whole[top:bottom, left:right])


def test_no_block_is_decoded_that_lies_beside_the_box_by_more_than_a_restart_interval():
    small, corner = jpeg.part_of(encode_image(PIXELS, "jpeg"), (70, 30, 120, 90))
    with Image.open(io.BytesIO(small)) as image:
        assert (image.size, corner) == ((64, 72), (64, 24))


def test_restart_markers_change_no_pixel_and_few_bytes():
    pixels = texture_record(4, frames=1, size=512).frames[0]
    ours, plain = encode_image(pixels, "jpeg"), saved(pixels)
    assert np.array_equal(decode_image(ours, "RGB"), decode_image(plain, "RGB"))
    assert len(ours) < 1.03 * len(plain)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": "4:2:0"}, {"restart_marker_blocks": 7}])
def test_what_cannot_be_parted_is_decoded_whole(options):
    data = saved(**{"restart_marker_blocks": 8} | options if options else {})
    assert jpeg.part_of(data, (3, 5, 60, 70)) is None
    assert np.array_equal(decode_image(data, "RGB", (3, 5, 60, 70)), decode_image(data, "RGB")[5:70, 3:60])


def test_a_grey_jpeg_is_parted_too():
    data = saved(PIXELS[..., 0], restart_marker_blocks=8)
    assert jpeg.part_of(data, (3, 5, 60, 70)) is not None
    assert np.array_equal(decode_image(data, "RGB", (3, 5, 60, 70)), decode_image(data, "RGB")[5:70, 3:60])


def test_damage_never_ends_in_anything_but_none_or_a_jpeg():
    data = encode_image(PIXELS[:64, :64], "jpeg")
    rng = np.random.default_rng(0)
    for at, byte in product(rng.choice(len(data), 300, False).tolist(), (0x00, 0xD3, 0xFF)):
        bad = bytearray(data)
        bad[at] = byte
        found = jpeg.part_of(bytes(bad), (0, 0, 33, 33))
        assert found is None or found[0][:2] == b"\xff\xd8"
    for length in range(0, len(data), 97):
        assert jpeg.part_of(data[:length], (0, 0, 33, 33)) is None


def test_a_box_beyond_the_image_is_refused():
    data = encode_image(PIXELS, "jpeg")
    for box in ((0, 0, 193, 10), (0, 190, 10, 193)):
        assert jpeg.part_of(data, box) is None
        with pytest.raises(ValueError, match="192x192 does not hold the box"):
            decode_image(data, "RGB", box)
