"""Reads a film shot by shot.

H height, W width; pictures are uint8 (H W 3), or uint16 where codes are kept; seconds are those of the film's timeline.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import numpy as np

from pack.video.bars import NO_BARS, Bars
from pack.video.colour import fit_into
from pack.video.fields import Deinterlace
from pack.video.reader import mark_shots, read_timed

ALL_FRAMES = 10**6  # a second: none is dropped

Timed = tuple[Fraction, np.ndarray]


@dataclass
class Shot(Iterator[Timed]):
    """The (seconds, picture) of a shot, one after the other; pictures have these black bars."""

    pictures: Iterator[Timed]
    bars: Bars = NO_BARS

    def __next__(self) -> Timed:
        return next(self.pictures)


def read_shots(
    path: Path,
    begins_shot: Callable[[Fraction], bool] = lambda _: False,
    deinterlace: Deinterlace = "auto",
    keep_codes: bool = False,
) -> Generator[Shot, None, None]:
    """Each shot as an iterator over its (seconds, picture), which the next shot ends; memory does not grow.

    Shots also begin where `begins_shot` says so of a frame's seconds. Pictures of another size than the first are
    scaled to fit into it, with black bars. With `keep_codes` pictures are the film's own codes, uint16.
    """

    def numbered(pictures):
        shot, size = 0, None
        for picture, begins in mark_shots(pictures, begins_shot):
            shot += begins
            size = size or picture.pixels.shape[:2]
            bars = picture.bars.fitted(picture.pixels.shape, size)
            shown = picture.pixels if picture.codes is None else picture.codes
            yield (shot, bars), (picture.seconds, fit_into(shown, size))

    with closing(read_timed(path, ALL_FRAMES, deinterlace, keep_codes)) as timed:
        for (_, bars), shot in groupby(numbered(timed), key=lambda item: item[0]):
            yield Shot((item for _, item in shot), bars)
