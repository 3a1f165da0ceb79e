"""Depth files of strangers: other kinds of files under their names, little bytes that ask for much memory."""

import io
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from pack.depth import files
from pack.depth.files import load_array, read_map
from tools.cli import UserError


def png(width, height, data=b""):
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head[4:]), (b"IDAT", data or zlib.compress(bytes(1000))), (b"IEND", b""))
    body = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def tiff():
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "TIFF")
    return out.getvalue()


IMAGES = {
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "TIFF": tiff(),
    "wide": png(9000, 8),
    "huge": png(100_000, 100_000),
    "negative": png(2**32 - 1, 8),
    "cut": png(8, 8)[:45],
    "no content": png(64, 64, zlib.compress(b"")),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_images_other_than_png_of_a_reasonable_size_are_refused_before_they_are_decoded(tmp_path, kind):
    (tmp_path / "0.png").write_bytes(IMAGES[kind])
    tracemalloc.start()
    with pytest.raises(UserError, match=r"0\.png is"):
        read_map(tmp_path / "0.png")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def write_npz(path, shape, size):
    """An NPZ file that says it holds `size` zeros in an array of this shape, compressed."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("depth.npy", "w") as file:
        file.write(head.getvalue())
        for _ in range(size // 10**6):
            file.write(bytes(10**6))
    return path


def test_an_array_that_would_fill_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = write_npz(tmp_path / "d.npz", (50, 1000, 1000), 50 * 10**6)
    monkeypatch.setattr(files, "memory_bytes", lambda: 99 * 10**6)
    tracemalloc.start()
    with pytest.raises(UserError, match=r"d\.npz holds an array of \d+ MB, more than half.*save it as \.npy"):
        load_array(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    monkeypatch.setattr(files, "memory_bytes", lambda: 101 * 10**6)
    assert load_array(path).shape == (50, 1000, 1000)


def test_an_array_whose_shape_is_larger_than_its_bytes_is_damaged(tmp_path):
    for shape in ((10**5, 10**5, 10**5), (10, 1000, 1000), (-1, 4, 4)):
        with pytest.raises(UserError, match=r"d\.npz is"):
            load_array(write_npz(tmp_path / "d.npz", shape, 10**6))
