"""The data of the cases: records of the real clips as shards of any image format, and as iw3's folders of PNG."""

from pathlib import Path

import numpy as np
from PIL import Image

from pack.shards.record import decode, encode
from pack.shards.shard import ShardWriter, list_shards, read_record
from tools.benches.case import Workplace, run_program
from tools.cli.files import naming

TINY = (
    *("--short-sides", "216", "--size", "160", "--skip-interval", "40"),
    *("--divergence-level", "3", "--max-shard-bytes", "1KB"),
)


def packed(place: Workplace) -> Path:
    """The split folder with the records of the clips, about 40 of 512 pixels, packed with the default settings."""
    folder = place.folder / "webp"
    words = TINY if place.tiny else ()
    run_program(["pack/main.py", "--video", *place.clips, "-o", folder, *words])  # skips videos that are packed
    return folder


def as_dataset(place: Workplace) -> Path:
    """A folder whose splits train/ and eval/ are both these records."""
    folder, split = place.folder / "dataset", packed(place)
    folder.mkdir(exist_ok=True)
    for name in ("train", "eval"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(split)
    return folder


def converted(place: Workplace, image_format: str) -> Path:
    """The same records as shards of another image format."""
    folder = place.folder / image_format
    for shard in list_shards(packed(place)):
        if (folder / f"{shard.name}.json").exists():
            continue
        with ShardWriter(folder / f"{shard.name}.tar") as writer:
            for entry in shard.records:
                writer.add(entry.key, encode(decode(entry.key, read_record(shard, entry)), image_format))
            writer.publish(shard.source, shard.config)
    return folder


def as_folders(split: Path, out: Path) -> list[Path]:
    """A folder for each record of a split, in its order, with NN_C.png and NN_M.png as PIL writes them."""
    folders = []
    for shard in list_shards(split):
        for entry in shard.records:
            folder = out / entry.key
            folders.append(folder)
            if folder.exists():
                continue
            record = decode(entry.key, read_record(shard, entry))
            made = folder.with_name(f"{folder.name}.tmp")
            made.mkdir(parents=True, exist_ok=True)
            for kind, images in (("C", record.frames), ("M", record.masks)):
                for t, image in enumerate(images):
                    path = made / f"{t:04d}_{kind}.png"
                    with naming(path):
                        Image.fromarray(np.asarray(image)).save(path)
            made.rename(folder)
    return folders
