"""Depth and shots of a film: one pass over it, whose results all later stages use.

T frames, H height, W width; h, w of the depth. The depth is written as iw3 exports it, one range of nearness per shot:
the median over its frames of percentiles (`robust_range`), so that it neither shimmers nor starts crushed.
"""

import struct
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import IO

import numpy as np
import torch
import yaml
from PIL import Image

from pack.depth.models import DepthEstimator, robust_range
from pack.depth.steadiness import still_change
from pack.film_depth import FilmDepth
from pack.holes.mappers import Curve, mapper
from pack.video.export import EXPORT
from pack.video.grey import frame_times
from pack.video.reader import VideoInfo
from pack.video.shot_reader import read_shots
from tools.cli import Progress, UserError, plural
from tools.cli.files import naming, remove_leftovers, whole_file, write_file
from tools.film.strength import SCREEN, STRONGEST, Strength, choose_strength
from tools.film.work import Work
from tools.synthesis.views import raw_windows

FEW_CUTS = 3  # with fewer, depth is not checked against them
JUMP = 2.0  # times its usual change by which depth must change at cuts
HISTOGRAM = 32  # classes of nearness
MOST = 65535  # of 16 bits


@dataclass(frozen=True)
class Shot:
    """A shot, and what its depth is like. Nearness is that over the shot."""

    first: int  # frame of the film
    frames: int
    seconds: float  # of its first frame on the film's timeline
    flicker: float  # summed change of nearness on still pixels
    still: int  # number of those
    change: float  # mean change of nearness from frame to frame
    jump: float | None  # mean change from the last frame of the shot before
    nearness: tuple[float, ...]  # shares of HISTOGRAM classes, far to near, after the curve where it is automatic
    divergence: float = 0.0  # with automatic strength, percent of the longer side
    why: str = ""

    @property
    def end(self) -> int:
        return self.first + self.frames


def survey(
    work: Work,
    video: VideoInfo,
    model: DepthEstimator | FilmDepth,
    name: str,
    device: torch.device,
    automatic: bool = False,
) -> list[Shot]:
    """The film's shots; their depth is in `work.depth`. What an earlier run has done is kept.

    With `automatic` strength the depth of each shot is its disparity, scaled about the screen by the shot's strength.
    So all later stages use STRONGEST, and the strength changes at cuts alone.

    Raises UserError where depth from files belongs to another film.
    """
    try:
        shots = [Shot(**{**row, "nearness": tuple(row["nearness"])}) for row in work.read("shots").get("shots", [])]
    except (KeyError, TypeError) as error:
        raise UserError(f"{work.folder / 'shots.json'} is damaged ({error!r}): pass another OUT") from error
    curve = mapper(usual_mapper(model)) if automatic else None
    if not shots or not (work.depth / EXPORT).exists():
        times = frame_times(video.path)
        maps = work.depth / "depth"
        maps.mkdir(parents=True, exist_ok=True)
        remove_leftovers(maps, r"shot\.raw")
        progress = Progress(len(times), "frames", "depth", done=sum(shot.frames for shot in shots))
        files = model if isinstance(model, FilmDepth) else None
        last: torch.Tensor | None = None
        kept = len(shots)
        for number, shot in enumerate(read_shots(video.path, files.begins_shot if files else lambda _: False)):
            if number < kept - 1:
                for _ in shot:
                    pass
                continue
            if number == kept - 1:  # by which the next shot knows how much the depth changes at the cut
                last = last_raw(raw_windows(shot, model, device))
                continue
            found, last = write_shot(maps, raw_windows(shot, model, device), times, last, progress, curve, video.fps)
            shots.append(found)
            work.write("shots", {"shots": [vars(one) for one in shots]})
        progress.close()
        if files:
            check_cuts(shots, files.source)
        write_yaml(work, video, model, name, shots, automatic)
    return shots


@torch.inference_mode()
def last_raw(parts: Iterator[list[tuple[Fraction, torch.Tensor, torch.Tensor]]]) -> torch.Tensor:
    """The raw nearness (1 1 h w) of the last frame of a shot, given as by `raw_windows`."""
    *_, (_, _, raw) = (one for part in parts for one in part)
    return raw.float().cpu()


@torch.inference_mode()
def write_shot(
    folder: Path,
    parts: Iterator[list[tuple[Fraction, torch.Tensor, torch.Tensor]]],
    times: list[Fraction],
    before: torch.Tensor | None,
    progress: Progress,
    curve: Curve | None = None,
    fps: float = 25,
) -> tuple[Shot, torch.Tensor]:
    """Write the depth of a shot, given as by `raw_windows`; the shot, and the last frame's raw nearness (1 1 h w).

    With a `curve` the strength is automatic.
    """
    numbers, ranges, flicker, still, changes = [], [], 0.0, 0, [0.0]
    jump, held = None, None
    with naming(folder / "shot.raw"), open(folder / "shot.raw", "w+b") as raws:
        for part in parts:
            for seconds, frame, raw in part:
                raw = raw.float().cpu()
                if held is None:
                    first = float(seconds)
                    jump = None if before is None or before.shape != raw.shape else float((raw - before).abs().mean())
                else:
                    one, count = still_change(torch.cat([held[0], frame.cpu()]), torch.cat([held[1], raw]))
                    flicker, still = flicker + one, still + count
                    changes.append(float((raw - held[1]).abs().mean()))
                held = frame.cpu(), raw
                numbers.append(min(bisect_left(times, seconds), len(times) - 1))
                ranges.append(tuple(map(float, robust_range(raw))))
                write_raw(raws, raw[0, 0].numpy())
                progress.update(numbers[-1] + 1)
        assert held is not None, "a shot has frames"
        low, high = (median(ends) for ends in zip(*ranges, strict=True))
        span, shape = max(high - low, 1e-6), held[1].shape[-2:]
        change = sum(changes) / max(len(changes) - 1, 1) / span
        shares = nearness_shares(nearness_of(raws, len(numbers), shape, low, span, curve))
        strength = choose_strength(shares, change * (fps or 25)) if curve else Strength(0.0, "")
        scale = strength.divergence / STRONGEST if curve else 1.0
        near = nearness_of(raws, len(numbers), shape, low, span, curve)
        write_maps(folder, numbers, (SCREEN + scale * (one - SCREEN) for one in near))
    (folder / "shot.raw").unlink()
    rest = {"change": change, "jump": None if jump is None else jump / span, "why": strength.why}
    found = Shot(
        numbers[0], len(numbers), first, flicker / span, still, nearness=shares, divergence=strength.divergence, **rest
    )
    return found, held[1]


def write_raw(file: IO[bytes], raw: np.ndarray) -> None:  # float32 (h w)
    """Append raw nearness in 16 bits of its own range: half precision has neither millimetres nor large offsets."""
    low, high = float(raw.min()), float(raw.max())
    codes = np.rint((raw - np.float32(low)) * (MOST / max(high - low, 1e-30)))
    file.write(struct.pack("<dd", low, high) + codes.astype(np.uint16).tobytes())


def read_raw(file: IO[bytes], shape: torch.Size) -> np.ndarray:  # -> float32 (h w)
    low, high = struct.unpack("<dd", file.read(16))
    codes = np.frombuffer(file.read(2 * shape[0] * shape[1]), np.uint16).reshape(shape)
    return (low + codes * ((high - low) / MOST)).astype(np.float32)


def nearness_of(
    raws: IO[bytes], count: int, shape: torch.Size, low: float, span: float, curve: Curve | None
) -> Iterator[np.ndarray]:  # of float32 (h w) in [0, 1]
    """The nearness of each frame of a shot, from its raw nearness in a file; with a curve the disparity."""
    raws.seek(0)
    for _ in range(count):
        near = np.clip((read_raw(raws, shape) - low) / span, 0, 1)
        yield near if curve is None else curve(torch.from_numpy(near)).clamp(0, 1).numpy()


def nearness_shares(frames: Iterator[np.ndarray]) -> tuple[float, ...]:
    """The share of the pixels of all frames in each of HISTOGRAM classes of nearness."""
    counts = sum((np.histogram(near, HISTOGRAM, (0, 1))[0] for near in frames), np.zeros(HISTOGRAM, np.int64))
    return tuple(round(float(share), 4) for share in counts / counts.sum())


def write_maps(folder: Path, numbers: list[int], frames: Iterator[np.ndarray]) -> None:
    """Write nearness in [0, 1] as 16-bit images."""
    for number, near in zip(numbers, frames, strict=True):
        with whole_file(folder / f"{number:08d}.png") as file:
            Image.fromarray(np.floor(MOST * near).astype(np.uint16)).save(file, "PNG", compress_level=1)


def check_cuts(shots: list[Shot], source: Path) -> None:
    """Raise UserError where the depth hardly changes at the film's cuts: it is of another film."""
    jumps = [shot.jump for shot in shots if shot.jump is not None]
    usual = median(shot.change for shot in shots)
    if len(jumps) >= FEW_CUTS and median(jumps) < JUMP * usual:
        raise UserError(
            f"{source} changes by {100 * median(jumps):.1f} % at the film's {plural(len(jumps), 'cut')} and by "
            f"{100 * usual:.1f} % elsewhere, expected much more at cuts: is it the depth of another film?"
        )


def usual_mapper(model: DepthEstimator | FilmDepth) -> str:
    """The curve from nearness to disparity that files state, else that of the kind of model."""
    files = model if isinstance(model, FilmDepth) else None
    return (files and files.mapper) or ("div_6" if model.metric else "none")


def write_yaml(
    work: Work,
    video: VideoInfo,
    model: DepthEstimator | FilmDepth,
    name: str,
    shots: list[Shot],
    automatic: bool,
) -> None:
    """Write what iw3 says of an export; it is written last."""
    files = model if isinstance(model, FilmDepth) else None
    curve = "none" if automatic else usual_mapper(model)  # which is applied already where the strength is automatic
    content = {
        "type": "video",
        "basename": video.path.stem,
        "fps": str(Fraction(video.fps or 25).limit_denominator(1001)),
        "rgb_dir": None,
        "depth_dir": "depth",
        "audio_file": None,
        "mapper": curve,
        "skip_mapper": bool(files and files.is_disparity),
        "skip_edge_dilation": bool(files and files.is_disparity),
        "user_data": {
            "export_options": {"depth_model": name, "mapper": curve},
            "scene_boundary": ",".join(f"{shot.first:08d}" for shot in shots[1:]),
            "backfill": True,
        },
    }
    write_file(work.depth / EXPORT, yaml.safe_dump(content).encode())


def steadiness(shots: list[Shot]) -> str:
    """The mean change of nearness on still pixels, in words."""
    still = sum(shot.still for shot in shots)
    if not still:
        return "no pixel is still, so its steadiness is unknown"
    return f"changes by {100 * sum(shot.flicker for shot in shots) / still:.2f} % of its range on still pixels"


def shot_of(shots: list[Shot], frame: int) -> int:
    """The number of the shot that a frame of the film is in."""
    ends = [shot.end for shot in shots]
    assert all(a < b for a, b in pairwise(ends)), "shots follow each other"
    return min(bisect_left(ends, frame + 1), len(shots) - 1)
