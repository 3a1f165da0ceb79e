"""The contact sheet: the shots with the largest fills, as the network that converts the film fills them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pack.shards.index import Entry, Index
from pack.shards.record import decode, parse_info
from pack.shards.shard import list_shards, read_record
from pack.shards.untrusted import CorruptRecord
from tools.evaluation.baselines import Fill
from tools.film.survey import Shot, shot_of
from tools.inspection.contact_sheet import beside, draw_frame, draw_text, save, stack
from train.evaluation.metrics import as_uint8

SHOTS = 10
TILE = 320  # pixels of a picture
CLOSE = 160  # pixels of the film that a picture shows, so that its holes are seen
STEP = 8  # pixels between the squares that are tried
FRAMES = 12
COLUMNS = f"Close-ups of {CLOSE} pixels: the frame, its holes in red, and the fill"


def draw_sheet(out: Path, splits: Sequence[Path], shots: Sequence[Shot], fill: Fill, device: torch.device) -> int:
    """Draw, for each of the SHOTS shots with the largest fills, the frame, its holes and the fill; how many."""
    chosen = sorted(largest_fills(splits, shots).items(), key=lambda item: -item[1][0])[:SHOTS]
    rows = []
    for shot, (share, shard, entry) in chosen:
        try:
            record = decode(entry.key, read_record(shard, entry))
        except CorruptRecord:
            continue
        height, width = record.masks.shape[1:]
        text = f"shot {shot} at {shots[shot].seconds:.1f} s: holes are {100 * share:.1f} % of {width}x{height} pixels"
        row = beside(fill_record(record.frames, record.masks, fill, device), group=3)
        rows += [draw_text([text], row.width), row]
    if rows:
        save(stack([draw_text([COLUMNS], rows[1].width), *rows]), out)
    return len(rows) // 2


def largest_fills(splits: Sequence[Path], shots: Sequence[Shot]) -> dict[int, tuple[float, Index, Entry]]:
    """By shot its record with the largest holes, and their share of the tile."""
    largest: dict[int, tuple[float, Index, Entry]] = {}
    for shard in (shard for split in splits for shard in list_shards(split)):
        for entry in shard.records:
            info = parse_info(entry.key, read_record(shard, entry)["json"])
            shot, share = shot_of(list(shots), int(info["start_frame"])), float(info["hole_share"])
            if shot not in largest or share > largest[shot][0]:
                largest[shot] = share, shard, entry
    return largest


@torch.inference_mode()
def fill_record(
    frames: np.ndarray, masks: np.ndarray, fill: Fill, device: torch.device
) -> list:  # uint8 (T H W 3), uint8 (T H W) -> 3 images
    """The frame, its holes marked, and the fill, in the middle of a record and there where its holes are largest."""
    from PIL import Image

    start = (len(frames) - FRAMES) // 2
    colours = torch.from_numpy(frames[start : start + FRAMES].copy()).permute(0, 3, 1, 2).float().to(device) / 255
    holes = torch.from_numpy(masks[start : start + FRAMES].copy())[:, None].to(device) > 0
    filled = as_uint8(fill(colours.masked_fill(holes, 0), holes)[FRAMES // 2]).numpy()
    middle = start + FRAMES // 2
    close = closest(masks[middle] > 0)
    marks = np.where(masks[middle][close] > 0, np.uint8(255), np.uint8(0))
    frame, _, marked = draw_frame(frames[middle][close], marks, TILE)
    return [frame, marked, Image.fromarray(filled[close]).resize(frame.size, Image.Resampling.BOX)]


def closest(holes: np.ndarray) -> tuple[slice, slice]:  # bool (H W)
    """The rows and columns of the square with the most hole pixels."""
    side = min(CLOSE, *holes.shape)
    sums = torch.nn.functional.avg_pool2d(torch.from_numpy(holes)[None].float(), side, stride=STEP)[0]
    y, x = (STEP * int(place) for place in np.unravel_index(int(sums.argmax()), sums.shape))
    return np.s_[y : y + side, x : x + side]
