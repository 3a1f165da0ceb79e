"""Finds the videos of a command line, identifies them, and shares them among processes."""

import glob
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pack.video.export import digest_of, is_export
from tools.cli import MissingFile

ENDINGS = set(
    ".3gp .asf .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob .webm .wmv .y4m".split()
)
SAMPLE_BYTES = 2**20  # hashed at both ends: enough to distinguish videos without reading terabytes


def find_videos(patterns: Sequence[str]) -> list[Path]:
    """The videos of these files, folders and globs, sorted, each once.

    Raises MissingFile where one of them has none.
    """
    found = {path.resolve(): path for pattern in patterns for path in matches(pattern)}
    return sorted(found.values())


def matches(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.is_dir() and is_export(path):
        return [path]
    if path.is_dir():
        videos = [file for file in path.iterdir() if is_video(file)]
        if not videos:
            raise MissingFile(f"{path}: found no video in this folder, expected files such as NAME.mp4 or NAME.mkv")
        return videos
    if path.exists():
        return [path]
    # Hidden names are no videos: macOS writes "._NAME" beside each file on disks of other systems.
    names = [name for name in glob.glob(pattern, recursive=True) if os.path.isfile(name)]
    videos = [Path(name) for name in names if not Path(name).name.startswith(".")]
    if not videos:
        raise MissingFile(f"{pattern}: found no such video, expected a file, a folder or a glob such as 'films/*.mp4'")
    return videos


def is_video(file: Path) -> bool:
    """Whether the file's name is that of a video; hidden files never are."""
    return not file.name.startswith(".") and file.suffix.lower() in ENDINGS and file.is_file()


def fingerprint(video: Path) -> dict[str, Any]:
    """Name, size in bytes, and sha256 of the first and last MiB: how an index identifies the video it was made from.

    Of an export's pictures it is the sha256 of their names and sizes.
    """
    if video.is_dir():
        size, digest_of_names = digest_of(video)
        return {"video": video.name, "bytes": size, "sha256_of_ends": digest_of_names}
    size = video.stat().st_size
    digest = hashlib.sha256()
    with open(video, "rb") as file:
        digest.update(file.read(SAMPLE_BYTES))
        file.seek(max(size - SAMPLE_BYTES, 0))
        digest.update(file.read(SAMPLE_BYTES))
    return {"video": video.name, "bytes": size, "sha256_of_ends": digest.hexdigest()}


def share(videos: Sequence[Path], rank: int, world_size: int) -> list[Path]:
    """The videos of one of `world_size` processes, the largest first; each video is in one share.

    Shares have about the same size in bytes: opening ten thousand files to read their lengths would take minutes.
    """
    loads, shares = [0] * world_size, [[] for _ in range(world_size)]
    for video in sorted(videos, key=lambda path: (-size_of(path), str(path))):
        least = loads.index(min(loads))
        loads[least] += size_of(video)
        shares[least].append(video)
    return shares[rank]


def size_of(video: Path) -> int:
    return video.stat().st_size
