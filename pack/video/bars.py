"""Black bars above, below and beside a film's picture, which may change within the film.

A bar is dark in all of its lines, and the picture begins behind it with an edge that is straight and sharp over most of
its length. Thick bars come in pairs of about the same size. What is merely dark, as a night sky, a fade or a scene
without light, has no such edge: it neither makes bars nor ends those that the film has. H height, W width.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol, Self, TypeVar

import numpy as np

DARK = 24  # levels of luma up to which a pixel may belong to a bar: black with the noise of a codec
STRAY = 0.01  # of a line's pixels that may be brighter
STEP = 24  # levels by which the picture is brighter than the bar at its edge
EDGE = 3  # lines on either side of an edge that are compared
SHARP = 0.5  # of an edge's length at which it must be seen
ACTIVE = 0.4  # of a picture's columns or rows in which something must be seen at all
THIN = 0.02  # of the height or width: a bar up to this, or up to 4 lines, needs no partner
THICKEST = 0.4
AGREE = 4  # frames that must show the same new bars
HOLD = 12  # frames read ahead, so that bars that are seen only when a picture has faded in are found from its beginning


@dataclass(frozen=True)
class Bars:
    """Lines of each side of a picture that do not belong to it."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def __bool__(self) -> bool:
        return any((self.top, self.bottom, self.left, self.right))

    def crop(self, picture: np.ndarray) -> np.ndarray:  # (H W ...) -> (H' W' ...), a view
        """The picture without its bars."""
        return picture[self.picture(picture.shape[:2])]

    def picture(self, size: Sequence[int]) -> tuple[slice, slice]:
        """The rows and columns of a picture (H, W) that its bars leave."""
        return slice(self.top, size[0] - self.bottom), slice(self.left, size[1] - self.right)

    def whole(self, size: Sequence[int]) -> tuple[int, int]:
        """Height and width with the bars of a picture that has this size (H, W) without them."""
        return size[0] + self.top + self.bottom, size[1] + self.left + self.right

    def fitted(self, shape: Sequence[int], size: tuple[int, int]) -> "Bars":
        """The bars after `fit_into` has brought a picture (H W ...) to this size, with those that it adds."""
        top, left, high, wide = place(shape, size)
        rows = [round(line * high / shape[0]) for line in (self.top, self.bottom)]
        columns = [round(line * wide / shape[1]) for line in (self.left, self.right)]
        return Bars(
            top + rows[0], size[0] - top - high + rows[1], left + columns[0], size[1] - left - wide + columns[1]
        )

    def crop_map(self, maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:  # (... h w), (H, W) -> (... h' w')
        """The part of maps of a picture of this size that shows it without its bars; a map may be of another size."""
        y, x = maps.shape[-2] / size[0], maps.shape[-1] / size[1]
        rows = slice(round(self.top * y), round((size[0] - self.bottom) * y))
        return maps[..., rows, round(self.left * x) : round((size[1] - self.right) * x)]


NO_BARS = Bars()


def place(shape: Sequence[int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """First line and column, height and width of a picture (H W ...) that is scaled to fit into this size."""
    scale = min(size[0] / shape[0], size[1] / shape[1])
    high, wide = max(1, min(size[0], round(shape[0] * scale))), max(1, min(size[1], round(shape[1] * scale)))
    return (size[0] - high) // 2, (size[1] - wide) // 2, high, wide


class HasPixels(Protocol):
    """A frame, such as reader.Picture."""

    @property
    def pixels(self) -> np.ndarray: ...  # uint8 (H W 3)


Frame = TypeVar("Frame", bound=HasPixels)


def find_bars(frames: Iterable[Frame]) -> Iterator[tuple[Frame, Bars]]:
    """Each frame with its bars; HOLD frames are held back. Bars change where a frame shows that they did."""
    held: deque[tuple[Frame, Lines]] = deque()
    bars, shape = NO_BARS, None

    def release():
        nonlocal bars, shape
        first = held[0][1]
        if first.shape != shape:
            bars, shape = NO_BARS, first.shape
        bars = following(bars, [lines for _, lines in takewhile(lambda item: item[1].shape == shape, held)])
        return held.popleft()[0], bars

    for frame in frames:
        held.append((frame, Lines.of(frame.pixels)))
        if len(held) == HOLD:
            yield release()
    while held:
        yield release()


@dataclass(frozen=True)
class Lines:
    """A frame's luma at a part of its columns and of its rows."""

    shape: tuple[int, ...]
    sides: tuple[np.ndarray, ...]  # uint8 (lines samples) from each side inwards: top, bottom, left, right
    dark: tuple[int, ...]  # dark lines at each side
    bars: tuple[int | None, ...]  # lines of the bar at each side, 0 for none; None where no edge of the picture is seen

    @classmethod
    def of(cls, picture: np.ndarray) -> Self:  # uint8 (H W 3)
        rows = luma(picture[:, :: max(1, picture.shape[1] // 256)])
        columns = luma(picture[:: max(1, picture.shape[0] // 256)]).T
        sides = (rows, rows[::-1], columns, columns[::-1])
        dark = tuple(leading((side > DARK).mean(1) <= STRAY) for side in sides)
        return cls(picture.shape, sides, dark, tuple(map(cls._bar, sides, dark)))

    @classmethod
    def _bar(cls, lines, dark):
        if dark > THICKEST * len(lines) or not cls._has_edge(lines, dark):
            return None
        means = lines[dark : dark + EDGE].mean(1)
        soft = leading(means[:-1] < 0.6 * means[-1]) if dark and len(means) == EDGE else 0  # scaled or blurred
        return dark + soft

    def allows(self, side: int, bar: int) -> bool:
        """Whether there may be this bar: it is dark, or its edge is seen although something is in it, as subtitles."""
        return self.dark[side] >= bar - 1 or self._has_edge(self.sides[side], bar)

    @staticmethod
    def _has_edge(lines, line):
        """Whether the picture begins at this line, over most of its length."""
        inside = lines[line : line + EDGE].max(0).astype(np.int16)
        outside = lines[max(line - EDGE, 0) : line].max(0) if line else 0
        active = lines.max(0) > DARK
        return bool(active.mean() >= ACTIVE and (inside - outside >= STEP)[active].mean() >= SHARP)


def luma(picture: np.ndarray) -> np.ndarray:  # uint8 (H W 3) -> uint8 (H W)
    deep = picture.astype(np.uint16)
    return ((deep[..., 0] + 2 * deep[..., 1] + deep[..., 2]) // 4).astype(np.uint8)


def leading(flags: np.ndarray) -> int:  # bool (N,) -> how many are true before the first that is not
    return int(np.argmin(flags)) if not flags.all() else len(flags)


def following(bars: Bars, frames: Sequence[Lines]) -> Bars:
    """The bars of the first of these frames, whose predecessor had `bars`."""
    top, bottom = _pair((bars.top, bars.bottom), frames, (0, 1))
    left, right = _pair((bars.left, bars.right), frames, (2, 3))
    return Bars(top, bottom, left, right)


def _pair(now: tuple[int, int], frames: Sequence[Lines], sides: tuple[int, int]) -> tuple[int, int]:
    """The bars of two opposite sides."""
    seen = [_agreed(frames, side, bar) for side, bar in zip(sides, now, strict=True)]
    length = len(frames[0].sides[sides[0]])
    new = list(now)
    for n in range(2):
        found, other = seen[n], now[1 - n] if seen[1 - n] is None else seen[1 - n]
        if found is None or abs(found - now[n]) <= 1:
            continue
        are_partners = abs(found - other) <= max(2, 0.1 * max(found, other))
        if found <= max(4, THIN * length) or are_partners or found < now[n]:
            new[n] = found
    there = [n for n in range(2) if new[n]]
    if there and not any(lines.allows(sides[n], new[n]) for n in there for lines in frames[:AGREE]):
        return 0, 0
    return new[0], new[1]


def _agreed(frames: Sequence[Lines], side: int, now: int) -> int | None:
    """The bar that AGREE frames show, the first of them the first of all; None where they do not agree.

    Of a bar that grows they may be later ones, if all before them are dark there.
    """
    for start in range(max(1, len(frames) - AGREE + 1)):
        seen = [lines.bars[side] for lines in frames[start : start + AGREE]]
        found = [bar for bar in seen if bar is not None]
        if len(found) == len(seen) and max(found) - min(found) <= 1:
            bar = max(found)
            grows = bar > now + 1 and all(lines.dark[side] >= bar - 1 for lines in frames[:start])
            return bar if start == 0 or grows else None
    return None
