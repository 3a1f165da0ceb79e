import io
import zipfile

import numpy as np
import pytest

from tools.cli.arrays import read_member


def npz(path, shape, size):
    """An NPZ file whose array `a` has this shape by its header, and this many bytes of float32."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": shape, "fortran_order": False, "descr": "<f4"})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", header.getvalue() + bytes(size))
    return path


@pytest.mark.parametrize("shape", [(10**5, 10**5, 10**5), (5, 5), (-1, 4)])
def test_a_shape_that_its_bytes_do_not_fill_is_damage_and_asks_for_no_memory(shape, tmp_path):
    with np.load(npz(tmp_path / "a.npz", shape, 64)) as archive, pytest.raises(ValueError, match=r"by its shape"):
        read_member(archive, "a")


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_arrays_of_every_version_are_read(version, tmp_path):
    array, data = np.arange(12, dtype=np.float32).reshape(3, 4), io.BytesIO()
    np.lib.format.write_array(data, array, version)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", data.getvalue())
    with np.load(tmp_path / "a.npz") as archive:
        assert np.array_equal(read_member(archive, "a"), array)
