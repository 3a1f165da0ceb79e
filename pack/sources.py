"""Which videos the command line means, and what tells one video from another."""

import glob
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.cli import MissingFile

ENDINGS = set(
    ".3gp .asf .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob .webm .wmv .y4m".split()
)
SAMPLE_BYTES = 2**20  # of the beginning and of the end, which tell films apart without reading terabytes


def find_videos(patterns: Sequence[str]) -> list[Path]:
    """The videos that these files, folders and globs name, sorted, each once.

    Raises MissingFile where one of them names nothing.
    """
    found = {path.resolve(): path for pattern in patterns for path in matches(pattern)}
    return sorted(found.values())


def matches(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.is_dir():
        videos = [file for file in path.iterdir() if file.suffix.lower() in ENDINGS and file.is_file()]
        if not videos:
            raise MissingFile(f"{path}: this folder holds no video, expected files such as NAME.mp4 or NAME.mkv")
        return videos
    if path.exists():
        return [path]
    videos = [Path(name) for name in glob.glob(pattern, recursive=True) if os.path.isfile(name)]
    if not videos:
        raise MissingFile(f"{pattern}: no such video, expected a file, a folder or a glob such as 'films/*.mp4'")
    return videos


def fingerprint(video: Path) -> dict[str, Any]:
    """Name, bytes and sha256 of the first and the last MiB: what an index keeps of the video that it was made from."""
    size = video.stat().st_size
    digest = hashlib.sha256()
    with open(video, "rb") as file:
        digest.update(file.read(SAMPLE_BYTES))
        file.seek(max(size - SAMPLE_BYTES, 0))
        digest.update(file.read(SAMPLE_BYTES))
    return {"video": video.name, "bytes": size, "sha256_of_ends": digest.hexdigest()}


def share(videos: Sequence[Path], rank: int, world: int) -> list[Path]:
    """The videos of one process of `world`, the largest first; all shares together are all videos, each once.

    Sizes stand for lengths, since a look into each of ten thousand files would take minutes in every process.
    """
    loads, shares = [0] * world, [[] for _ in range(world)]
    for video in sorted(videos, key=lambda path: (-size_of(path), str(path))):
        least = loads.index(min(loads))
        loads[least] += size_of(video)
        shares[least].append(video)
    return shares[rank]


def size_of(video: Path) -> int:
    return video.stat().st_size
