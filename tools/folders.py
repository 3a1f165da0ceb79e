"""Converts iw3's record folders to shards and shards to such folders; no pixel changes either way.

An iw3 record is a folder, named by its key, of `0000_C.png` (RGB), `0000_M.png` (gray: 0, 128, 255), `0001_C.png`, ...
Folders that we write also hold `record.json`, which iw3 ignores: how the record was made.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

if not __package__:  # run as a file: import from the repository root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tools import cli
from tools.cli import UserError, plural
from tools.cli.machine import usable_cores
from tools.cli.sizes import parse_size


@dataclass(frozen=True)
class Config:
    """Import iw3's record folders as shards, or export shards as such folders."""

    ALIASES: ClassVar = {"out": ("-o",)}
    from_folders: str = ""  # import: folder of record folders, or with train/ and eval/ of record folders
    from_shards: str = ""  # export: folder of shards, or with train/ and eval/ of shards
    out: str = ""  # output folder for shards or record folders, with train/ and eval/ where the source has them
    name: str = "imported"  # import: shards are named NAME-00000.tar, NAME-00001.tar, ...
    image_format: Literal["webp", "png"] = "webp"  # import: image format of frames in shards; both are lossless
    max_shard_bytes: str = "1GB"  # import: maximum size of a shard; a larger record gets a shard of its own
    workers: int = 0  # number of threads that read, decode and encode (0: one per core)

    def __post_init__(self):
        if bool(self.from_folders) == bool(self.from_shards):
            raise UserError("expected either --from-folders or --from-shards")
        if not self.out:
            raise UserError("-o is missing: name the output folder")
        if not self.name or "/" in self.name or "." in self.name:
            raise UserError(f"--name {self.name!r}: expected a name without dots and slashes")
        if self.workers < 0:
            raise UserError(f"--workers {self.workers}: expected 0 (one per core) or more")
        parse_size("--max-shard-bytes", self.max_shard_bytes)


def main():
    config = cli.parse(Config)
    from tools.copying.record_folders import export_records, find_folders, find_records, import_folders, split_folders

    source = Path(config.from_folders or config.from_shards)
    pairs = split_folders(source, Path(config.out))
    workers = config.workers or usable_cores()
    if config.from_folders:
        work = [(find_folders(folder, out, config.name), out) for folder, out in pairs]
        for folders, out in work:
            limit = parse_size("--max-shard-bytes", config.max_shard_bytes)
            shards = import_folders(folders, out, config.name, config.image_format, limit, workers)
            print(f"{out}: {plural(len(folders), 'record')} in {plural(shards, 'shard')}")
    else:
        work = [(find_records(folder, out), out) for folder, out in pairs]
        for records, out in work:
            export_records(records, out, workers)
            print(f"{out}: {plural(len(records), 'record folder')}")


if __name__ == "__main__":
    cli.run(main)
