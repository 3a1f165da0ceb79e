"""Depth of rendered scenes by another program: their left eyes are written as films, and its depth of them is read.

T frames, H height, W width of the frames; h, w of the depth.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from pack.depth.models import normalise
from pack.film_depth import DepthOptions, open_depth
from pack.holes.mappers import mapper
from pack.video.reader import VideoInfo
from tools.cli import Progress

FPS = 24
IW3_DILATION = 2


@dataclass(frozen=True)
class Nearness:
    """The nearness that a warp is given."""

    values: torch.Tensor  # float (T 1 h w) in [0, 1]
    edge_dilation: int  # pixels of it by which near sides are grown: iw3's remedy for soft edges of depth


def film_name(scene: str, left: np.ndarray) -> str:
    """The name of a scene's left eye uint8 (T H W 3).

    It has a digest of the pictures, so that depth of a scene from other textures or of another seed is never taken.
    """
    return f"{scene.replace(' ', '-')}-{hashlib.sha256(left.tobytes()).hexdigest()[:8]}"


def write_left_eyes(folder: Path, eyes: Iterable[tuple[str, np.ndarray]], total: int) -> None:
    """Write the left eye of each (scene, uint8 (T H W 3)) as a lossless film; those that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    progress = Progress(total, "scenes")
    for number, (scene, left) in enumerate(eyes):
        path = folder / f"{film_name(scene, left)}.mkv"
        if not path.exists():
            temporary = folder / f"{path.stem}.tmp"
            write_film(temporary, left)
            os.replace(temporary, path)
        progress.update(number + 1)
    progress.close()


def write_film(path: Path, pictures: np.ndarray) -> None:  # uint8 (T H W 3)
    """Write a lossless film."""
    with av.open(f"file:{path}", "w", format="matroska") as out:
        stream = out.add_stream("ffv1", rate=FPS)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "bgr0"
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def read_nearness(folder: str, scene: str, left: np.ndarray) -> Nearness:
    """The nearness of a scene with left eye uint8 (T H W 3), by the depth in `folder`, over the clip as in records.

    Raises UserError, which names what is missing or does not fit.
    """
    count, height, width, _ = left.shape
    film = VideoInfo(Path(f"{film_name(scene, left)}.mkv"), width, height, FPS, count / FPS, count)
    times = [Fraction(number, FPS) for number in range(count)]
    found = open_depth(folder, film, DepthOptions(), times=times)
    near = normalise(torch.from_numpy(found.read(times)).float(), "given" if found.is_ranged else "minmax")
    curve = mapper(found.mapper or ("div_6" if found.metric else "none"))
    return Nearness(curve(near).clamp(0, 1), 0 if found.is_disparity else IW3_DILATION)
