"""Turns iw3's record folders into shards and shards into such folders; no pixel changes either way.

An iw3 record is a folder, named by its key, of `0000_C.png` (RGB), `0000_M.png` (gray: 0, 128, 255), `0001_C.png`, ...
Folders that we write hold `record.json` besides, which iw3 does not look at: how the record was made.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from PIL import Image

from pack.prefetch import ordered_map
from pack.shards.exclusion import leave_out_listed
from pack.shards.images.image_file import encode_image
from pack.shards.index import Entry, Index, read_index
from pack.shards.record import MASK_LEVELS, Record, decode, encode
from pack.shards.shard import ShardWriter, list_shards, read_record
from pack.shards.tar_layout import tar_bytes
from tools import cli
from tools.cli import MissingFile, UserError
from tools.cli.files import sync, sync_folder
from tools.cli.machine import usable_cores
from tools.cli.sizes import parse_size

SPLITS = ("train", "eval")
INFO = "record.json"
FEWEST_FRAMES = 12  # of a record that can be trained on
LONGEST_KEY = 100 - len(".000_C.webp")  # bytes: a name in a tar has 100
LOSSLESS_MODES = ("RGB", "L", "P", "1")  # Pillow's, of images that 8 bits a channel without alpha hold exactly


@dataclass(frozen=True)
class Config:
    """Import iw3's record folders as shards, or export shards as such folders."""

    ALIASES: ClassVar = {"out": ("-o",)}
    from_folders: str = ""  # import: folder of record folders, or of train/ and eval/ with record folders
    from_shards: str = ""  # export: folder of shards, or of train/ and eval/ with shards
    out: str = ""  # folder that gets the shards or the record folders; train/ and eval/ stay apart in it
    name: str = "imported"  # import: shards are called NAME-00000.tar, NAME-00001.tar, ...
    image_format: Literal["webp", "png"] = "webp"  # import: how shards hold frames; neither loses anything
    max_shard_bytes: str = "1GB"  # import: largest shard; a record that is larger gets one of its own
    workers: int = 0  # threads that read, decode and encode; 0 for one a core

    def __post_init__(self):
        if bool(self.from_folders) == bool(self.from_shards):
            raise UserError("expected either --from-folders or --from-shards")
        if not self.out:
            raise UserError("-o is missing: name the folder that gets the result")
        if not self.name or "/" in self.name or "." in self.name:
            raise UserError(f"--name {self.name!r}: expected a name without dots and slashes")
        if self.workers < 0:
            raise UserError(f"--workers {self.workers}: expected 0 (one a core) or more")
        parse_size("--max-shard-bytes", self.max_shard_bytes)


def main():
    config = cli.parse(Config)
    source = Path(config.from_folders or config.from_shards)
    pairs = split_folders(source, Path(config.out))
    workers = config.workers or usable_cores()
    if config.from_folders:
        work = [(find_folders(folder, out, config.name), out) for folder, out in pairs]
        for folders, out in work:
            shards = import_folders(folders, out, config, workers)
            print(f"{out}: {len(folders)} records in {shards} shards")
    else:
        work = [(find_records(folder, out), out) for folder, out in pairs]
        for records, out in work:
            export_records(records, out, workers)
            print(f"{out}: {len(records)} record folders")


def split_folders(source: Path, out: Path) -> list[tuple[Path, Path]]:
    """Where to read and where to write: `train/` and `eval/` where `source` has them, else `source` itself."""
    if not source.is_dir():
        raise MissingFile(f"{source}: no such folder")
    pairs = [(source / name, out / name) for name in SPLITS if (source / name).is_dir()]
    return [(folder, to) for folder, to in pairs if any(folder.iterdir())] or [(source, out)]


def find_folders(source: Path, out: Path, name: str) -> list[Path]:
    """The record folders in `source`, by name.

    Raises UserError where one's name is no key, or where `out` has shards called `name` or one of the records.
    """
    folders = sorted(path for path in source.iterdir() if path.is_dir())
    if not folders:
        raise MissingFile(f"{source}: holds no record folder, expected KEY/0000_C.png, KEY/0000_M.png, ...")
    for folder in folders:
        check_key(folder.name, folder)
    taken = [path for path in sorted(out.glob(f"{name}-*")) if path.suffix in (".tar", ".json")]
    if taken:
        raise UserError(f"{taken[0]}: is there already: remove all {name}-* there, or pass another --name")
    keys = {folder.name for folder in folders}
    for path in sorted(out.glob("*.json")):
        twice = [entry.key for entry in read_index(path).records if entry.key in keys]
        if twice:
            raise UserError(f"{path}: has record {twice[0]} already: remove it, or import to another folder")
    return folders


def find_records(source: Path, out: Path) -> list[tuple[Index, Entry]]:
    """The records of the shards in `source` that are not excluded, which is said.

    Raises UserError where a key is no folder name, stands twice, or where `out` has such a folder.
    """
    shards, lines = leave_out_listed(source, list_shards(source))
    for line in lines:
        print(line)
    records = [(shard, entry) for shard in shards for entry in shard.records]
    keys = set()
    for shard, entry in records:
        check_key(entry.key, shard.tar)
        if entry.key in keys:
            raise UserError(f"{shard.tar}: record {entry.key} stands in {source} twice: see tools/verify.py")
        if (out / entry.key).exists():
            raise UserError(f"{out / entry.key}: is there already: remove it, or export to another folder")
        keys.add(entry.key)
    return records


def import_folders(folders: list[Path], out: Path, config: Config, workers: int) -> int:
    """Publish the records of these folders as shards in `out`; says how many shards."""
    read = partial(read_members, image_format=config.image_format)
    settings = {"image_format": config.image_format}
    samples = told(read, folders, workers, "import")
    return write_shards(out, config.name, samples, parse_size("--max-shard-bytes", config.max_shard_bytes), settings)


def export_records(records: list[tuple[Index, Entry]], out: Path, workers: int) -> None:
    """Publish these records as folders in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for _ in told(partial(write_folder, out), records, workers, "export"):
        pass


def check_key(key: str, place: Path) -> None:
    """Raise UserError where `key` cannot be both the key of a tar and the name of a folder."""
    if not key or any(char in "./\\" or not char.isprintable() for char in key):
        raise UserError(f"{place}: the key {key!r} has a dot, a slash or a control character: rename the record")
    if len(key.encode()) > LONGEST_KEY:
        raise UserError(f"{place}: the key has {len(key.encode())} bytes, a tar has room for {LONGEST_KEY}: rename it")


def told(work: Callable, items: list, workers: int, label: str) -> Iterator[Any]:
    """The results of `work` in the order of `items`, some of them computed in advance by threads; shows progress."""
    progress = cli.Progress(len(items), "records", label)
    with closing(ordered_map(work, items, workers, 2 * workers)) as results:
        for result in results:
            yield result
            progress.update(progress.done + 1)
    progress.close()


def read_members(folder: Path, image_format: str) -> tuple[str, dict[str, bytes]]:
    """Key and members of the record in a folder."""
    return folder.name, encode(read_folder(folder), image_format)


def read_folder(folder: Path) -> Record:
    """The record in a folder. Raises UserError, with the folder's name, where it is none."""
    masks = sorted(path.name.removesuffix("_M.png") for path in folder.glob("*_M.png"))
    colours = sorted(path.name.removesuffix("_C.png") for path in folder.glob("*_C.png"))
    unpaired = sorted(set(masks) ^ set(colours))
    if unpaired:
        kind, other = "MC" if unpaired[0] in masks else "CM"
        raise UserError(f"{folder}: has {unpaired[0]}_{kind}.png without {unpaired[0]}_{other}.png: make it again")
    if len(masks) < FEWEST_FRAMES:
        raise UserError(f"{folder}: has {len(masks)} pairs of *_C.png and *_M.png, expected {FEWEST_FRAMES} or more")
    holes = stack([folder / f"{name}_M.png" for name in masks], "L")
    strange = holes[~np.isin(holes, MASK_LEVELS)]
    if len(strange):
        raise UserError(f"{folder}: a mask has the value {strange[0]}, expected {MASK_LEVELS}: make it again")
    frames = stack([folder / f"{name}_C.png" for name in masks], "RGB")
    if frames.shape[:3] != holes.shape:
        raise UserError(f"{folder}: frames are {frames.shape[2]}x{frames.shape[1]}, masks are another size")
    return Record(folder.name, frames, holes, read_info(folder / INFO))


def stack(paths: list[Path], mode: str) -> np.ndarray:  # -> uint8 (T H W 3) for RGB, (T H W) for L
    """The pixels of images of one size."""
    images = [read_image(path, mode) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            height, width = image.shape[:2]
            raise UserError(f"{path}: is {width}x{height}, other images of the folder are not: make the record again")
    return np.stack(images)


def read_image(path: Path, mode: str) -> np.ndarray:
    """The pixels of an image that `mode` holds without loss."""
    try:
        with Image.open(path) as image:
            if image.mode not in LOSSLESS_MODES:
                raise UserError(f"mode {image.mode}, expected 8 bits a channel without alpha")
            return np.asarray(image.convert(mode))
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for broken images
        raise UserError(f"{path}: cannot be read as an image ({error}): make the record again") from error


def read_info(path: Path) -> dict[str, Any]:
    """How a record was made, as far as its folder tells."""
    if not path.exists():
        return {"imported": "iw3"}
    try:
        info = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error}): remove it or make the record again") from error
    if not isinstance(info, dict):
        raise UserError(f"{path}: is not a JSON object: remove it or make the record again")
    return info


def write_shards(out: Path, name: str, samples: Iterable, max_bytes: int, settings: dict[str, Any]) -> int:
    """Publish (key, members) in shards of at most `max_bytes`; says how many."""
    samples = iter(samples)
    sample = next(samples, None)
    part = 0
    while sample:
        with ShardWriter(out / f"{name}-{part:05d}.tar") as writer:
            while sample and (not writer.entries or tar_bytes(writer.bytes, sample[1]) <= max_bytes):
                writer.add(*sample)
                sample = next(samples, None)
            writer.publish({"imported": "iw3", "part": part}, settings)
        part += 1
    return part


def write_folder(out: Path, place: tuple[Index, Entry]) -> None:
    """Publish a record as the folder `out/KEY`, whole."""
    shard, entry = place
    members = read_record(shard, entry)
    record = decode(entry.key, members)
    files = {INFO: members["json"]}
    for t, (frame, mask) in enumerate(zip(record.frames, record.masks, strict=True)):
        files |= {f"{t:04d}_C.png": encode_image(frame, "png"), f"{t:04d}_M.png": encode_image(mask, "png")}
    temporary = out / f"{entry.key}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        for name, data in files.items():
            with open(temporary / name, "wb") as file:
                file.write(data)
                sync(file)
        temporary.rename(out / entry.key)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(out)


if __name__ == "__main__":
    cli.run(main)
