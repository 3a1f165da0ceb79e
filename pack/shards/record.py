"""The data format: what a record is, and how it is stored in a WebDataset tar.

T frames, H height, W width. A record is a square crop of a clip with the pixels that a change of view would hide.
Its members share its key and are adjacent: `KEY.json`, `KEY.00_C.webp`, `KEY.00_M.png`, ... `KEY.15_M.png`.
Neither PyAV nor torch is imported: a machine that trains needs neither to read records.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pack.shards.images.image_file import Box, decode_image, encode_image
from pack.shards.tar_layout import BLOCK, padded, read_header
from pack.shards.untrusted import CorruptRecord, check_depth, parse_object
from tools.cli import UserError, plural

MASK_LEVELS = (0, 128, 255)  # seen, hidden behind two layers (iw3's 0.5), hidden
MEMBER = re.compile(r"(\d\d+)_([CM])\.(webp|png|jpeg)")


@dataclass(frozen=True)
class Record:
    """A square crop of a clip with its holes and how they were made."""

    key: str
    frames: np.ndarray  # uint8 (T H W 3)
    masks: np.ndarray  # uint8 (T H W) of MASK_LEVELS
    info: dict[str, Any]  # KEY.json


def record_key(prefix: str, model_type: str, video_name: str, number: int, crop: int) -> str:
    """`{prefix}_{model_type}_{FILE_HASH}_{SEQUENCE_NO}_{CROP}`, as iw3 names its folders."""
    return f"{video_key(prefix, model_type, video_name)}_{number}_{crop}"


def video_key(prefix: str, model_type: str, video_name: str) -> str:
    """What all records of one video and depth model begin with; it also names their shards."""
    name = (video_name + "iw3").encode(errors="surrogateescape")  # the bytes of a name that is not UTF-8
    file_hash = hashlib.md5(name, usedforsecurity=False).hexdigest()[:8]
    return "_".join(part for part in (prefix, model_type, file_hash) if part)


def encode(record: Record, image_format: str = "webp") -> dict[str, bytes]:
    """The members of a record by extension, in their order in the tar."""
    members = {"json": json.dumps(record.info, sort_keys=True).encode()}
    for t, (frame, mask) in enumerate(zip(record.frames, record.masks, strict=True)):
        members[f"{t:02d}_C.{image_format}"] = encode_image(frame, image_format)
        members[f"{t:02d}_M.png"] = encode_image(mask, "png")
    return members


def decode(key: str, members: dict[str, bytes], indexes: Sequence[int] | None = None) -> Record:
    """The record with these members; `indexes` decodes only those frames, in that order.

    Raises CorruptRecord when the members are not those of a whole record.
    """
    chosen = range(frame_count(key, members)) if indexes is None else indexes
    frames, masks = decode_frames(key, members, chosen), decode_masks(key, members, chosen)
    if frames.shape[:3] != masks.shape:
        raise CorruptRecord(f"record {key}: frames and masks differ in size: pack or copy its shard again")
    return Record(key, frames, masks, parse_info(key, members["json"]))


def decode_frames(
    key: str, members: dict[str, bytes], indexes: Sequence[int], box: Box | None = None
) -> np.ndarray:  # -> uint8 (T H W 3)
    """These frames of a record, or a box of them. Raises CorruptRecord."""
    colours, _ = image_members(key, members)
    return _stack(key, [decode_image(members[colours[t]], "RGB", box) for t in indexes])


def decode_masks(key: str, members: dict[str, bytes], indexes: Sequence[int]) -> np.ndarray:  # -> uint8 (T H W)
    """These masks of a record. Raises CorruptRecord."""
    _, masks = image_members(key, members)
    return _stack(key, [decode_image(members[masks[t]], "L") for t in indexes])


def _stack(key, images):
    if len({image.shape for image in images}) != 1:
        raise CorruptRecord(f"record {key}: its images differ in size: pack or copy its shard again")
    return np.stack(images)


def frame_count(key: str, members: dict[str, bytes]) -> int:
    """How many frames the record with these members has. Raises CorruptRecord."""
    return len(image_members(key, members)[0])


def image_members(key: str, members: dict[str, bytes]) -> tuple[list[str], list[str]]:
    """The extensions of a record's frames and of its masks, in the order of time. Raises CorruptRecord."""
    images = sorted((int(match[1]), match[2], name) for name in members if (match := MEMBER.fullmatch(name)))
    colours = [name for _, kind, name in images if kind == "C"]
    masks = [name for _, kind, name in images if kind == "M"]
    expected = [(t, kind) for t in range(len(colours)) for kind in "CM"]
    whole = [image[:2] for image in images] == expected and len(images) + 1 == len(members) and "json" in members
    if not whole or not colours:
        raise CorruptRecord(
            f"record {key}: found {plural(len(colours), 'frame')}, {plural(len(masks), 'mask')} and "
            f"{plural(len(members), 'member')}, expected one json and a mask for every frame: "
            f"pack or copy its shard again"
        )
    return colours, masks


def parse_info(key: str, data: bytes) -> dict[str, Any]:
    """How a record was made: the content of its KEY.json. Raises CorruptRecord."""
    try:
        info = parse_object(data)
        check_depth(info)
    except UserError as error:
        raise CorruptRecord(f"record {key}: its json {error}: pack or copy its shard again") from error
    return info


def size_in(info: Mapping[str, Any], name: str) -> tuple[int, int] | None:
    """Width and height that a KEY.json states under a name; none where it states something else or nothing."""
    value = info.get(name)
    if not (isinstance(value, list) and len(value) == 2 and all(type(n) is int and 0 < n < 1 << 16 for n in value)):
        return None
    return value[0], value[1]


def parse_head(key: str, data: bytes) -> tuple[dict[str, Any], int, int]:
    """A record's KEY.json, and offset and length in the record of its first frame's file.

    `data` are the first bytes of the record, as many as hold the JSON and the header behind it. Raises CorruptRecord.
    """
    _, size = read_header(data, 0, key)
    header = BLOCK + padded(size)
    _, length = read_header(data, header, key)
    return parse_info(key, data[BLOCK : BLOCK + size]), header + BLOCK, length
