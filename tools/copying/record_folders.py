"""iw3's record folders: reading them as records, and writing records as such folders."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pack.prefetch import ordered_map
from pack.shards.exclusion import leave_out_listed
from pack.shards.images.image_file import CorruptImage, encode_image, open_image, to_pixels
from pack.shards.index import Entry, Index, read_index
from pack.shards.location import SPLITS
from pack.shards.record import MASK_LEVELS, Record, decode, encode
from pack.shards.shard import ShardWriter, list_shards, read_record
from pack.shards.store import read_bytes
from pack.shards.tar_layout import tar_bytes
from pack.shards.untrusted import LARGEST_JSON, check_depth, check_key, parse_object
from tools import cli
from tools.cli import MissingFile, UserError
from tools.cli.files import naming, remove_temporary, sync, sync_folder, temporary_path

INFO = "record.json"
FEWEST_FRAMES = 12  # that training needs of a record
LOSSLESS_MODES = ("RGB", "L", "P", "1")  # Pillow's, of images that 8 bits a channel without alpha hold exactly


def split_folders(source: Path, out: Path) -> list[tuple[Path, Path]]:
    """Where to read and where to write: `train/` and `eval/` where `source` has them, else `source` itself."""
    if not source.is_dir():
        found = "is a file" if source.exists() else "no such folder"
        raise MissingFile(f"{source}: {found}, expected a folder of record folders or of shards: check the path")
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
        try:
            check_key(folder.name)
        except UserError as error:
            raise UserError(f"{folder}: {error}: rename the record") from error
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
    """The records of the shards in `source` that are not excluded; prints how many are.

    Raises UserError where a key is there twice, or where `out` has such a folder.
    """
    shards, lines = leave_out_listed(source, list_shards(source))
    for line in lines:
        print(line)
    records = [(shard, entry) for shard in shards for entry in shard.records]
    keys = set()
    for shard, entry in records:
        if entry.key in keys:
            raise UserError(f"{shard.tar}: record {entry.key} is in {source} twice: run tools/verify.py")
        if (out / entry.key).exists():
            raise UserError(f"{out / entry.key}: is there already: remove it, or export to another folder")
        keys.add(entry.key)
    return records


def import_folders(folders: list[Path], out: Path, name: str, image_format: str, max_bytes: int, workers: int) -> int:
    """Publish the records of these folders as shards NAME-00000, ... in `out`; returns the number of shards."""
    read = partial(read_members, image_format=image_format)
    samples = with_progress(read, folders, workers, "import")
    return write_shards(out, name, samples, max_bytes, {"image_format": image_format})


def export_records(records: list[tuple[Index, Entry]], out: Path, workers: int) -> None:
    """Publish these records as folders in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for _ in with_progress(partial(write_folder, out), records, workers, "export"):
        pass


def with_progress(work: Callable, items: list, workers: int, label: str) -> Iterator[Any]:
    """The results of `work` in the order of `items`, computed ahead by threads; shows progress."""
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
    """The record in a folder. Raises UserError with the folder's name where there is none."""
    masks = sorted(path.name.removesuffix("_M.png") for path in folder.glob("*_M.png"))
    colours = sorted(path.name.removesuffix("_C.png") for path in folder.glob("*_C.png"))
    unpaired = sorted(set(masks) ^ set(colours))
    if unpaired:
        kind, other = "MC" if unpaired[0] in masks else "CM"
        raise UserError(f"{folder}: has {unpaired[0]}_{kind}.png without {unpaired[0]}_{other}.png: make it again")
    if len(masks) < FEWEST_FRAMES:
        raise UserError(f"{folder}: has {len(masks)} pairs of *_C.png and *_M.png, expected {FEWEST_FRAMES} or more")
    holes = stack([folder / f"{name}_M.png" for name in masks], "L")
    other = holes[~np.isin(holes, MASK_LEVELS)]
    if len(other):
        raise UserError(f"{folder}: a mask has the value {other[0]}, expected {MASK_LEVELS}: make it again")
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
            raise UserError(f"{path}: is {width}x{height}, other images of the folder are not: make it again")
    return np.stack(images)


def read_image(path: Path, mode: str) -> np.ndarray:  # -> uint8 (H W 3) for RGB, (H W) for L
    """The pixels of an image that `mode` holds without loss. Raises UserError."""
    try:
        with open_image(path) as image:
            if image.mode not in LOSSLESS_MODES:
                raise CorruptImage(f"mode {image.mode}, expected 8 bits a channel without alpha")
            return to_pixels(image, mode)
    except CorruptImage as error:
        raise UserError(f"{path}: cannot be read as an image ({error}): make the record again") from error


def read_info(path: Path) -> dict[str, Any]:
    """How a record was made, as far as its folder says."""
    if not path.exists():
        return {"imported": "iw3"}
    try:
        info = parse_object(read_bytes(path, LARGEST_JSON))
        check_depth(info)
    except UserError as error:
        raise UserError(f"{path}: {error}: remove it or make the record again") from error
    return info


def write_shards(out: Path, name: str, samples: Iterable, max_bytes: int, settings: dict[str, Any]) -> int:
    """Publish (key, members) in shards of at most `max_bytes`; returns the number of shards."""
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


def write_folder(out: Path, found: tuple[Index, Entry]) -> None:
    """Publish a record as the folder `out/KEY`, whole."""
    shard, entry = found
    members = read_record(shard, entry)
    record = decode(entry.key, members)
    files = {INFO: members["json"]}
    for t, (frame, mask) in enumerate(zip(record.frames, record.masks, strict=True)):
        files |= {f"{t:04d}_C.png": encode_image(frame, "png"), f"{t:04d}_M.png": encode_image(mask, "png")}
    temporary = temporary_path(out / entry.key)
    try:
        temporary.mkdir()
        for name, data in files.items():
            with naming(temporary / name), open(temporary / name, "wb") as file:
                file.write(data)
                sync(file)
        temporary.rename(out / entry.key)
    finally:
        remove_temporary(temporary)
    sync_folder(out)
