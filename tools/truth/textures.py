"""Pictures for scenes, out of videos."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from pack.video.reader import probe, read_frames
from tools.cli import UserError

FIRST_FRAMES = 3000  # of a video, from which pictures are taken: a whole film would take minutes to decode
LARGEST = (720, 1280)  # height and width of a picture


def load_textures(videos: Sequence[Path], count: int, seed: int) -> list[np.ndarray]:  # uint8 (h w 3) each
    """About `count` frames, or crops of large frames, drawn from all videos alike.

    A pure function of the videos, count and seed. Raises UserError for a video that cannot be read.
    """
    if not videos:
        raise UserError("there is no video to cut textures from: name some with --textures")
    random = np.random.Generator(np.random.PCG64([seed, 1]))
    shares = [len(part) for part in np.array_split(np.arange(count), len(videos))]
    return [picture for video, share in zip(videos, shares, strict=True) for picture in _pictures(video, share, random)]


def _pictures(video, count, random):
    frames = min(probe(video).frames or FIRST_FRAMES, FIRST_FRAMES)
    places = {int(place) for place in random.integers(0, frames, count)}
    last = max(places, default=-1)
    return [
        _crop(frame, random)
        for number, frame in enumerate(islice(read_frames(video, 1000), last + 1))
        if number in places
    ]


def _crop(frame, random):
    size = [min(full, most) for full, most in zip(frame.shape[:2], LARGEST, strict=True)]
    y, x = (int(random.integers(full - part + 1)) for full, part in zip(frame.shape[:2], size, strict=True))
    return frame[y : y + size[0], x : x + size[1]].copy()
