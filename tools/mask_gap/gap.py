"""How holes of a film differ from those of a training split.

N frames, H height, W width. Widths are in pixels at 1080p, of the run of its row that a hole pixel lies in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pack.holes.kinds import kind_of
from pack.shards.index import Entry, Index
from pack.shards.record import decode_masks, parse_info, size_in
from pack.shards.shard import read_record
from tools.evaluation.quality import hole_widths

FULL_WIDTH = 1920
LEAST_SHARE = 0.1  # of the records, below which a network was hardly trained on a kind
MOST, HALF = 0.9, 0.5  # of the film's hole pixels, whose widths training has to have shown to be trained, or partly so
QUANTILES = (0.01, 0.99)  # of the widths of training, between which a width counts as shown


@dataclass(frozen=True)
class Masks:
    """The holes of one kind in frames of a film."""

    masks: torch.Tensor  # bool (N 1 H W)
    scale: float  # pixels at 1080p per pixel

    def widths(self) -> np.ndarray:
        """The width at each hole pixel: float (hole pixels,)."""
        return (hole_widths(self.masks)[self.masks] * self.scale).numpy()


def film_scale(width: int, height: int) -> float:
    """Pixels at 1080p per pixel of a film of this size."""
    return FULL_WIDTH / max(width, height)


def split_widths(records: Sequence[tuple[Index, Entry]]) -> dict[str, list[np.ndarray]]:
    """By kind the widths at the hole pixels of each record's first frame, as stored."""
    found: dict[str, list[np.ndarray]] = {}
    for shard, entry in records:
        members = read_record(shard, entry)
        info = parse_info(entry.key, members["json"])
        holes = torch.from_numpy(decode_masks(entry.key, members, [0]))[:, None] > 0
        scale = FULL_WIDTH / max(size_in(info, "frame_size") or (FULL_WIDTH,))
        found.setdefault(kind_of(info), []).append((hole_widths(holes)[holes] * scale).numpy())
    return found


def width_lines(film: Mapping[str, Masks], trained: Mapping[str, Sequence[np.ndarray]]) -> list[str]:
    """A line for each kind: its area and widths in the film and in the split."""
    total = sum(map(len, trained.values()))
    lines = [
        "widths in pixels at 1080p, of which 10, 50 and 90 % of the hole pixels have less",
        "kind      area, %  widths in the film  widths in training  records, %",
    ]
    for kind, masks in film.items():
        mine = np.concatenate(trained.get(kind) or [np.zeros(0)])
        share = 100 * len(trained.get(kind, ())) / total
        area = 100 * float(masks.masks.float().mean())
        lines.append(f"{kind:8}  {area:7.2f}  {quantiles(masks.widths()):>18}  {quantiles(mine):>18}  {share:10.0f}")
    return lines


def quantiles(widths: np.ndarray) -> str:
    return ", ".join(f"{value:.0f}" for value in np.quantile(widths, (0.1, 0.5, 0.9))) if len(widths) else "–"


def overlap_lines(film: Mapping[str, Masks]) -> list[str]:
    """A line for each pair of kinds: the intersection of their holes over the union."""
    lines, kinds = [], list(film)
    for n, one in enumerate(kinds):
        for other in kinds[n + 1 :]:
            a, b = film[one].masks, film[other].masks
            lines.append(f"overlap of {one} and {other}: {float((a & b).sum() / (a | b).sum().clamp(min=1)):.2f}")
    return lines


def verdict(kind: str, masks: Masks, trained: Mapping[str, Sequence[np.ndarray]]) -> str:
    """A sentence that says whether training on the split prepares a network for the film's holes of this kind."""
    share = len(trained.get(kind, ())) / sum(map(len, trained.values()))
    widths = masks.widths()
    if not len(widths):
        return f"{kind}: the film has no holes"
    if share < LEAST_SHARE:
        return f"{kind}: not trained for this: {100 * share:.0f} % of the records have holes of this kind"
    shown = np.concatenate(trained[kind])
    if not len(shown):
        return f"{kind}: not trained for this: the records that were read have no hole in their first frames"
    low, high = np.quantile(shown, QUANTILES)
    covered = float(((widths >= low) & (widths <= high)).mean())
    how = "trained" if covered >= MOST else "only partly trained" if covered >= HALF else "not trained"
    return (
        f"{kind}: {how} for this: {100 * covered:.0f} % of the film's hole pixels are in holes of widths that training "
        f"has shown, {100 * float((widths > high).mean()):.0f} % in wider ones"
    )
