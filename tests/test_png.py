import io
import struct

import numpy as np
import pytest
from PIL import Image

from pack import png
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
