"""THE data format: what a record is, and how it stands in a WebDataset tar.

T frames, H height, W width. A record is a square crop of a clip with the pixels that a change of view would hide.
Its members share its key and stand together: `KEY.json`, `KEY.00_C.webp`, `KEY.00_M.png`, ... `KEY.15_M.png`.
Neither PyAV nor torch is imported: a machine that trains needs neither to read records.
"""

import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from pack.shards.images import jpeg, png, webp
from tools.cli import UserError

Box = tuple[int, int, int, int]  # left, top, right, bottom, pixels
SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    # about 0.7 of PNG's bytes, decoded faster; more effort saves a fifth and takes four to seven times as long
    "webp": {"format": "WEBP", "lossless": True, "method": 0, "quality": 0},
    "png": {"format": "PNG"},
    "jpeg": {"format": "JPEG", "quality": 95, "subsampling": "4:4:4"},
}
MASK_LEVELS = (0, 128, 255)  # seen, hidden behind two layers (iw3's 0.5), hidden
MEMBER = re.compile(r"(\d\d+)_([CM])\.(webp|png|jpeg)")


@dataclass(frozen=True)
class Record:
    """A clip of one place with its holes and how they were made."""

    key: str
    frames: np.ndarray  # uint8 (T H W 3)
    masks: np.ndarray  # uint8 (T H W) of MASK_LEVELS
    info: dict[str, Any]  # KEY.json


def record_key(prefix: str, model_type: str, video_name: str, number: int, crop: int) -> str:
    """`{prefix}_{model_type}_{FILE_HASH}_{SEQUENCE_NO}_{CROP}`, as iw3 names its folders."""
    return f"{video_key(prefix, model_type, video_name)}_{number}_{crop}"


def video_key(prefix: str, model_type: str, video_name: str) -> str:
    """What all records of one video and depth model begin with; it also names their shards."""
    file_hash = hashlib.md5((video_name + "iw3").encode(), usedforsecurity=False).hexdigest()[:8]
    return "_".join(part for part in (prefix, model_type, file_hash) if part)


def encode(record: Record, image_format: str = "webp") -> dict[str, bytes]:
    """The members of a record by extension, in the order in which they stand in the tar."""
    members = {"json": json.dumps(record.info, sort_keys=True).encode()}
    for t, (frame, mask) in enumerate(zip(record.frames, record.masks, strict=True)):
        members[f"{t:02d}_C.{image_format}"] = encode_image(frame, image_format)
        members[f"{t:02d}_M.png"] = encode_image(mask, "png")
    return members


def decode(key: str, members: dict[str, bytes], indexes: Sequence[int] | None = None) -> Record:
    """The record of these members; `indexes` decodes only those frames, in that order.

    Raises UserError when the members are not those of a whole record.
    """
    chosen = range(frame_count(key, members)) if indexes is None else indexes
    frames, masks = decode_frames(key, members, chosen), decode_masks(key, members, chosen)
    return Record(key, frames, masks, json.loads(members["json"]))


def decode_frames(
    key: str, members: dict[str, bytes], indexes: Sequence[int], box: Box | None = None
) -> np.ndarray:  # -> uint8 (T H W 3)
    """These frames of the record of these members, or what is in a box of them. Raises UserError as `decode`."""
    colours, _ = image_members(key, members)
    return np.stack([decode_image(members[colours[t]], "RGB", box) for t in indexes])


def decode_masks(key: str, members: dict[str, bytes], indexes: Sequence[int]) -> np.ndarray:  # -> uint8 (T H W)
    """These masks of the record of these members. Raises UserError as `decode`."""
    _, masks = image_members(key, members)
    return np.stack([decode_image(members[masks[t]], "L") for t in indexes])


def frame_count(key: str, members: dict[str, bytes]) -> int:
    """How many frames the record of these members has."""
    return len(image_members(key, members)[0])


def image_members(key: str, members: dict[str, bytes]) -> tuple[list[str], list[str]]:
    """The extensions of a record's frames and of its masks, in the order of time."""
    images = sorted((int(match[1]), match[2], name) for name in members if (match := MEMBER.fullmatch(name)))
    colours = [name for _, kind, name in images if kind == "C"]
    masks = [name for _, kind, name in images if kind == "M"]
    expected = [(t, kind) for t in range(len(colours)) for kind in "CM"]
    whole = [image[:2] for image in images] == expected and len(images) + 1 == len(members) and "json" in members
    if not whole or not colours:
        raise UserError(
            f"record {key}: found {len(colours)} frames, {len(masks)} masks and {len(members)} members, "
            f"expected one json and a mask for every frame: pack or copy its shard again"
        )
    return colours, masks


def encode_image(pixels: np.ndarray, image_format: str) -> bytes:  # uint8 (H W 3) or (H W)
    """The bytes of an image file."""
    if image_format == "png" and pixels.ndim == 2:
        return png.encode_grey(pixels)
    out, options = io.BytesIO(), SAVE_OPTIONS[image_format]
    if image_format == "jpeg":
        options = options | {"restart_marker_blocks": jpeg.restart_interval(pixels.shape[1])}
    Image.fromarray(pixels).save(out, **options)
    return out.getvalue()


def decode_image(data: bytes, mode: str, box: Box | None = None) -> np.ndarray:  # -> uint8 (H W 3) of RGB, (H W) of L
    """The pixels of an image file, or of a box of it, of which no more is decoded than it takes."""
    if box and mode == "RGB":
        decode_part = webp.decode_part if data[8:12] == b"WEBP" else png.decode_part
        if (part := decode_part(data, box)) is not None:
            return part
    if not box and mode == "L" and (pixels := png.decode_grey(data)) is not None:
        return pixels
    if box and (smaller := jpeg.part_of(data, box)) is not None:
        data, (left, top) = smaller
        box = box[0] - left, box[1] - top, box[2] - left, box[3] - top
    with Image.open(io.BytesIO(data)) as image:
        if box and (box[2] > image.width or box[3] > image.height):
            raise UserError(f"an image of {image.width}x{image.height} does not hold the box {box}: pack it again")
        shown = image if image.mode == mode else image.convert(mode)
        return np.asarray(shown.crop(box) if box else shown)
