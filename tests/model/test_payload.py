"""Weight files of strangers: little bytes that ask for much memory, tensors that are no numbers, endless lists."""

import io
import struct
import zipfile

import pytest
import torch

from model.checkpoint import describe, load_network, read_file
from model.light_video_inpaint import LightVideoInpaint
from model.payload import DEEPEST, check_payload
from tools.cli import UserError

NET = LightVideoInpaint(base_dim=8, generator=torch.Generator().manual_seed(0))


def saved(path, **changes):
    out = io.BytesIO()
    torch.save(describe(NET) | changes, out)
    path.write_bytes(out.getvalue())
    return path


def shared(levels, width=10):
    """A list of `width`**`levels` values that takes no more room than levels * width of them."""
    value = ["x"] * width
    for _ in range(levels - 1):
        value = [value] * width
    return value


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def cycle():
    value = []
    value.append(value)
    return value


ODD = {
    "more elements than bytes": torch.zeros(1).expand(10**6, 10**6),
    "without data": torch.zeros(3, device="meta"),
    "sparse": torch.zeros(3, 3).to_sparse(),
    "nested": torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    "8 bits": torch.zeros(3).to(torch.float8_e4m3fn),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("where", ["state_dict", "averages", "train_kwargs"])
def test_tensors_that_are_not_dense_numbers_are_refused_wherever_they_are(tmp_path, odd, where):
    weights = {"patch.weight": odd}
    changes = {"backfill": {"averages": weights}} if where == "averages" else {where: weights}
    with pytest.raises(UserError, match=r"x\.pth.*'patch\.weight' is not a dense tensor of numbers"):
        read_file(saved(tmp_path / "x.pth", **changes))


@pytest.mark.parametrize("odd", [shared(10), nested(DEEPEST + 1), cycle()], ids=["shared", "nested", "cycle"])
def test_lists_that_would_be_endless_are_refused(tmp_path, odd):
    for name in ("name", "kwargs", "train_kwargs"):
        with pytest.raises(UserError, match=r"x\.pth cannot be read as a checkpoint"):
            read_file(saved(tmp_path / "x.pth", **{name: odd}))


def test_what_a_checkpoint_usually_holds_is_accepted():
    same = {"betas": (0.9, 0.999)}
    check_payload({"groups": [same, same], "losses": [(1, 0.5)] * 1000, "deep": nested(DEEPEST - 2), "none": None})


def test_a_file_with_compressed_members_is_refused_before_they_are_read(tmp_path):
    path = saved(tmp_path / "x.pth", more=torch.zeros(10**7))
    with zipfile.ZipFile(path) as stored, zipfile.ZipFile(tmp_path / "y.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    load_network(path)
    with pytest.raises(UserError, match="its members are compressed"):
        load_network(tmp_path / "y.pth")


def test_a_file_whose_members_share_bytes_is_refused(tmp_path):
    path = saved(tmp_path / "x.pth")
    with zipfile.ZipFile(path, "a") as archive:
        first = max(archive.infolist(), key=lambda member: member.file_size)
        for _ in range(3):  # the directory lists it again and again
            archive.filelist.append(first)
        archive._didModify = True
    with pytest.raises(UserError, match="more bytes together than its"):
        read_file(path)


@pytest.mark.parametrize("averages", [{"averages": torch.ones(3)}, {"ema": {"weights": [1]}}, {"averages": [1]}])
def test_averages_that_are_not_weights_are_refused_and_not_left_out(tmp_path, averages):
    with pytest.raises(UserError, match="averaged weights are not weights by name"):
        load_network(saved(tmp_path / "x.pth", backfill=averages))


def test_an_archive_that_says_it_spans_several_disks_is_refused(tmp_path):
    data = saved(tmp_path / "a.pth").read_bytes()
    end = data.rindex(b"PK\x05\x06")
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 2)  # of the end in the 64-bit form, on the second of two disks
    data = data[: end - len(locator)] + locator + data[end:]
    (tmp_path / "a.pth").write_bytes(data)
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        read_file(tmp_path / "a.pth")
