"""Draws docs/fill.webp: what the network is given, what is hidden, what it fills, and what was there.

make shards VIDEO=clips/bikes.mp4 OUT=picture ARGS="--divergence-level 3 --skip-first 138"
.venv/bin/python docs/picture.py picture Motion_6ae29988_1_0 Motion_6ae29988_7_0
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from model.checkpoint import load_network
from pack.shards.record import decode
from pack.shards.shard import find_record, list_shards, read_record

ROOT = Path(__file__).resolve().parents[1]
NETWORK = ROOT / "model/base/inpaint.light_video_inpaint_v1.pth"
OUT = ROOT / "docs/fill.webp"
LABELS = ("masked input", "holes", "filled by the network", "truth")
TILE, GAP, LABEL = 300, 6, 30  # pixels
T = 8  # frame of the 12


def main() -> None:
    split, *keys = sys.argv[1:]
    network = load_network(NETWORK)
    shards = list_shards(Path(split))
    rows = [pictures(network, *find_record(shards, key)) for key in keys]
    width = len(LABELS) * (TILE + GAP) - GAP
    sheet = Image.new("RGB", (width, LABEL + len(rows) * (TILE + GAP) - GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for column, label in enumerate(LABELS):
        x = column * (TILE + GAP)
        draw.text((x + TILE // 2, LABEL // 2), label, "black", ImageFont.load_default(18), anchor="mm")
        for row, images in enumerate(rows):
            sheet.paste(Image.fromarray(images[column]), (x, LABEL + row * (TILE + GAP)))
    sheet.save(OUT, quality=88, method=6)


def pictures(network, shard, entry) -> list[np.ndarray]:  # four of uint8 (TILE TILE 3)
    """One frame of a record, cut where the most is hidden, in the order of LABELS."""
    record = decode(entry.key, read_record(shard, entry), range(2, 14))
    frames = torch.from_numpy(record.frames).permute(0, 3, 1, 2).float() / 255  # (12 3 512 512)
    holes = torch.from_numpy(record.masks)[:, None] > 0  # (12 1 512 512)
    y, x = fullest_window(record.masks[T] > 0)
    window = np.s_[..., y : y + TILE, x : x + TILE]
    with torch.inference_mode():
        filled = network.infer(frames, holes)
    shown = frames.masked_fill(holes, 0), holes.expand_as(frames).float(), filled, frames
    images = [(part[T][window] * 255).round().byte().permute(1, 2, 0).numpy() for part in shown]
    images[0][record.masks[T][window] > 0] = (255, 0, 255)  # black holes would not show in dark pictures
    return images


def fullest_window(holes: np.ndarray) -> tuple[int, int]:  # bool (H W)
    """The corner (y, x) of the square of TILE pixels that holds the most holes."""
    sums = np.pad(holes, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    inside = sums[TILE:, TILE:] - sums[:-TILE, TILE:] - sums[TILE:, :-TILE] + sums[:-TILE, :-TILE]
    y, x = np.unravel_index(inside.argmax(), inside.shape)
    return int(y), int(x)


if __name__ == "__main__":
    main()
