"""Hostile inputs for every reader of pack.shards, made by hypothesis, and what must hold for each of them."""

import contextlib
import io
import json
import re
import tarfile
import zlib
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from pack.shards.exclusion import LIST, read_keys
from pack.shards.images import png
from pack.shards.images.image_file import CorruptImage, decode_image, encode_image
from pack.shards.index import Entry, parse_index
from pack.shards.record import decode, encode, parse_head, parse_info
from pack.shards.shard import parse_record
from pack.shards.tar_layout import member_info
from pack.shards.untrusted import CorruptRecord, check_relative
from tests.support.shards import texture_record
from tools.cli import UserError

RECORD = texture_record(3, frames=2, size=40)
BOX = (5, 9, 33, 30)
INDEX = {
    "format": "backfill shard",
    "version": 1,
    "tar": "a.tar",
    "bytes": 4096,
    "sha256": "0f" * 32,
    "records": [{"key": f"k_{n}_0", "offset": 1024 * n, "length": 1024, "crc32": 7} for n in range(2)],
    "source": {"video": "a.mp4", "part": 0},
    "config": {"seed": 71},
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("a" * 10**4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=6,
)


def saved(**options):
    out = io.BytesIO()
    Image.fromarray(RECORD.frames[0]).save(out, **options)
    return out.getvalue()


def tar_of(members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for extension, data in members.items():
            tar.addfile(member_info(f"{RECORD.key}.{extension}", len(data)), io.BytesIO(data))
        end = tar.offset
    return out.getvalue()[:end]


MEMBERS = encode(RECORD, "webp")
TAR = tar_of(MEMBERS)
IMAGES = {
    "png": [encode_image(RECORD.frames[0], "png")],
    "mask": [encode_image(RECORD.masks[0], "png")],
    "webp": [encode_image(RECORD.frames[0], "webp"), saved(format="WEBP", quality=80)],
    "jpeg": [encode_image(RECORD.frames[0], "jpeg"), saved(format="JPEG"), saved(format="JPEG", progressive=True)],
}


@st.composite
def damaged(draw, originals):
    """One of some files with a few of its bytes changed, removed, repeated or added."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(1, 40))
        kind = draw(st.sampled_from(("change", "remove", "repeat", "add", "cut")))
        if kind == "change":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "remove":
            del data[at : at + length]
        elif kind == "repeat":
            data[at:at] = data[at : at + length]
        elif kind == "add":
            data[at:at] = draw(st.binary(max_size=8))
        elif draw(st.integers(0, 3)) == 0:
            del data[at:]
    return bytes(data)


@st.composite
def odd_indexes(draw):
    """An index with some of its values replaced by others."""
    index = json.loads(json.dumps(INDEX))
    for _ in range(draw(st.integers(1, 3))):
        records = [r for r in index.get("records") or () if r and isinstance(r, dict)]  # {} has no value to replace
        owner = draw(st.sampled_from([index, *records]))
        name = draw(st.sampled_from(sorted(owner)))
        value = draw(VALUES | st.integers(-1, 5000) | st.sampled_from(["../x", "a/b", "a.b", "0" * 64, "#a", " a"]))
        owner[name] = value
        if not isinstance(index["records"], list):
            index["records"] = []
    return _dumped(index)


def _dumped(value):
    return json.dumps(value).encode()


def nested(depth):
    return b'{"version": ' + b"[" * depth + b"]" * depth + b', "bytes": ' + b"9" * depth + b"}"


def check_index(data):
    try:
        index = parse_index(data, Path("a.json"))
    except UserError:
        return
    assert re.fullmatch("[0-9a-f]{64}", index.sha256) and isinstance(index.source, dict)
    end = 0
    for entry in sorted(index.records, key=lambda entry: (entry.offset, entry.length)):
        assert end <= entry.offset <= (end := entry.offset + entry.length) <= index.bytes
        assert 0 < len(entry.key) <= 90 and not set(entry.key) & set("./\\\n\0") and entry.key == entry.key.strip()


def check_json(data):
    with contextlib.suppress(CorruptRecord):
        assert isinstance(parse_info("k", data), dict)


def check_tar(data):
    """A record whose bytes are those of its index, which was made for something else."""
    try:
        members = parse_record(data, Entry(RECORD.key, 0, len(data), zlib.crc32(data)))
        parse_head(RECORD.key, data)
        decode(RECORD.key, members)
    except CorruptRecord:
        pass


def check_image(data):
    whole, part = pixels(data), pixels(data, BOX)
    if whole is not None and part is not None:
        left, top, right, bottom = BOX
        assert np.array_equal(part, whole[top:bottom, left:right])
    if data.startswith(png.SIGNATURE) and part is not None and whole is None:
        assert png.decode_part(data, BOX) is not None  # what Pillow refuses outside the image's content


def pixels(data, box=None):
    try:
        return decode_image(data, "RGB", box)
    except CorruptImage:
        return None


def check_mask(data):
    try:
        found = decode_image(data, "L")
    except CorruptImage:
        return
    ours = png.decode_grey(data)
    if ours is not None:
        assert np.array_equal(ours, found)
        with Image.open(io.BytesIO(data)) as image, contextlib.suppress(OSError):  # refused behind the image's content
            assert np.array_equal(ours, np.asarray(image))


def check_list(folder):
    def check(data):
        (folder / LIST).write_bytes(data)
        with contextlib.suppress(UserError):
            assert all("\n" not in key and key == key.strip() for key in read_keys(folder / LIST))

    return check


def check_name(name):
    try:
        check_relative(name)
    except UserError:
        return
    assert not {"", ".", ".."} & set(name.split("/")) and not Path(name).is_absolute() and "\\" not in name


def readers(folder):
    """By name, the inputs of a reader and what must hold for each."""
    names = st.lists(st.sampled_from(["..", ".", "", "a", "b.json", "\\", "c\n"]), max_size=5).map("/".join)
    indexes = odd_indexes() | damaged([json.dumps(INDEX).encode()]) | st.integers(1, 5000).map(nested) | st.binary()
    return {
        "index": (indexes, check_index),
        "json": (damaged([MEMBERS["json"]]) | VALUES.map(_dumped) | st.integers(1, 5000).map(nested), check_json),
        "tar": (damaged([TAR]), check_tar),
        "png": (damaged(IMAGES["png"]), check_image),
        "webp": (damaged(IMAGES["webp"]), check_image),
        "jpeg": (damaged(IMAGES["jpeg"]), check_image),
        "mask": (damaged(IMAGES["mask"]), check_mask),
        "list": (damaged([b"# a\r\nk_1_0\n\xef\xbb\xbfk_2_0\n"]) | st.binary(), check_list(folder)),
        "name": (names | st.text(), check_name),
    }
