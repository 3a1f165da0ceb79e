"""Draws a contact sheet of records: frames, holes, overlays, and how the records were made."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pack.shards.index import Index, read_index
from pack.shards.shard import list_shards, read_record
from tools import cli
from tools.cli import UserError, plural
from tools.cli.files import check_result


@dataclass(frozen=True)
class Config:
    """Make a contact sheet PNG of a shard or a split."""

    ALIASES: ClassVar = {"data": ("-i",), "out": ("-o",)}
    data: str = "data/train"  # split folder, or tar or index of one shard
    out: str = "peek.png"  # output PNG
    records: int = 6  # number of records, evenly spaced
    key: tuple[str, ...] = ()  # show the records with these keys instead
    frames: tuple[int, ...] = (0, 5, 10, 15)  # frame numbers of each record; missing ones are skipped
    tile: int = 224  # width of each image, pixels

    def __post_init__(self):
        if self.records < 1 or self.tile < 16 or min(self.frames) < 0:
            raise UserError("expected --records of 1 or more, --tile of 16 or more and --frames of 0 or more")


def main():
    config = cli.parse(Config)
    from pack.shards.record import decode  # imports numpy
    from tools.inspection.contact_sheet import LEGEND, choose, draw_record, draw_text, save, stack

    check_result(config.out)
    chosen = choose(open_shards(Path(config.data)), config.records, config.key)
    blocks = []
    for shard, entry in chosen:
        record = decode(entry.key, read_record(shard, entry))
        blocks.append(draw_record(record, shard, config.frames, config.tile))
    sheet = stack([draw_text([LEGEND], blocks[0].width), *blocks])
    save(sheet, Path(config.out))
    print(f"{config.out}: {plural(len(chosen), 'record')}, {sheet.width}x{sheet.height} pixels")


def open_shards(path: Path) -> list[Index]:
    """The shards of a split, or the one shard at `path`."""
    if path.suffix in (".tar", ".json"):
        return [read_index(path.with_suffix(".json"))]
    return list_shards(path)


if __name__ == "__main__":
    cli.run(main)
