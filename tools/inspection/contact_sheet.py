"""Pictures of records: frames, holes and overlays with a description, side by side and below each other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pack.shards.exclusion import refuse_empty
from pack.shards.index import Entry, Index
from pack.shards.record import Record
from pack.shards.shard import find_record
from tools.cli import printable
from tools.cli.files import whole_file

HIDDEN, HIDDEN_TWICE = (255, 0, 64), (255, 200, 0)  # how holes and those behind two layers look on a frame
LEGEND = "From left to right: the frame, its holes, and the frame with its holes in red, in yellow behind two layers"
PAPER, INK = (24, 24, 24), (235, 235, 235)
GAP = 4  # pixels between images
FONT_SIZE = 15
LONGEST = 4000  # characters of a paragraph


def choose(shards: list[Index], count: int, keys: tuple[str, ...] = ()) -> list[tuple[Index, Entry]]:
    """The records with these keys, or `count` of them from first to last. Raises UserError where there is none."""
    if keys:
        return [find_record(shards, key) for key in keys]
    refuse_empty(shards[0].tar.parent, shards)
    places = [(shard, entry) for shard in shards for entry in shard.records]
    return [places[i] for i in np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int)]


def draw_record(record: Record, shard: Index, frames: tuple[int, ...], tile: int) -> Image.Image:
    """A description of a record, and below it frame, holes and overlay of each chosen frame."""
    shown = [t for t in frames if t < len(record.frames)] or [0]
    images = [image for t in shown for image in draw_frame(record.frames[t], record.masks[t], tile)]
    row = beside(images, group=3)
    share = 100 * (record.masks > 0).mean()
    height, width = record.masks.shape[1:]
    title = (
        f"{record.key}   {len(record.frames)} frames of {width}x{height}, {share:.2f} % hidden, shown: "
        f"{', '.join(map(str, shown))}   in {shard.tar.name}"
    )
    return stack([draw_text([title, describe(record.info)], row.width), row])


def draw_frame(frame: np.ndarray, mask: np.ndarray, tile: int) -> list[Image.Image]:
    """Frame, holes and overlay of uint8 (H W 3) and (H W), `tile` pixels wide."""
    overlay = frame.astype(np.float32)
    for level, colour in ((255, HIDDEN), (128, HIDDEN_TWICE)):
        overlay[mask == level] = 0.3 * overlay[mask == level] + 0.7 * np.array(colour)
    holes = np.repeat(mask[..., None], 3, axis=2)
    size = (tile, max(1, round(tile * frame.shape[0] / frame.shape[1])))
    images = (frame, holes, overlay.astype(np.uint8))
    return [Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BOX) for image in images]


def describe(info: dict[str, Any]) -> str:
    """The parameters of a record as `name value` pairs, numbers to 4 digits."""
    return "   ".join(f"{name} {short(value)}" for name, value in sorted(info.items()))


def short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {short(part)}" for name, part in value.items()) + ")"
    return value if isinstance(value, str) else json.dumps(value)


def draw_text(paragraphs: list[str], width: int) -> Image.Image:
    """Paragraphs broken into lines of at most `width` pixels."""
    font = ImageFont.load_default(FONT_SIZE)
    shown = [printable(text[:LONGEST]) for text in paragraphs]  # a record's JSON may have a million characters
    lines = [line for text in shown for line in break_lines(text, font, width - 2 * GAP)]
    height = FONT_SIZE + 4
    image = Image.new("RGB", (width, height * len(lines) + GAP), PAPER)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((GAP, number * height), line, INK, font)
    return image


def break_lines(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    lines = [""]
    for word in text.split("   "):  # a name stays with its value
        longer = f"{lines[-1]}   {word}" if lines[-1] else word
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def beside(images: list[Image.Image], group: int) -> Image.Image:
    """Images from left to right, with more room between groups."""
    lefts = [i * (images[0].width + GAP) + i // group * 2 * GAP + GAP for i in range(len(images))]
    row = Image.new("RGB", (lefts[-1] + images[-1].width + GAP, images[0].height + GAP), PAPER)
    for left, image in zip(lefts, images, strict=True):
        row.paste(image, (left, 0))
    return row


def stack(images: list[Image.Image]) -> Image.Image:
    """Images from top to bottom."""
    sheet = Image.new("RGB", (max(image.width for image in images), sum(i.height + GAP for i in images)), PAPER)
    top = 0
    for image in images:
        sheet.paste(image, (0, top))
        top += image.height + GAP
    return sheet


def save(sheet: Image.Image, out: Path) -> None:
    """Publish the picture, whole, in a folder that is created if it is missing."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(out) as file:
        sheet.save(file, "PNG")
