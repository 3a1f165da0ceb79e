"""Holds shots back whose holes cannot be filled well: their strength is reduced, and with it the holes.

The depth that the conversion reads is then `OUT.film/held/`: that of these shots is rescaled about the screen, all
other maps are links to `OUT.film/depth/`, of which records and certificate were made.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pack.depth.files import read_map
from pack.shards.record import decode
from pack.shards.shard import read_record
from pack.shards.untrusted import CorruptRecord
from pack.video.export import EXPORT
from tools.cli.files import read_small, write_file
from tools.evaluation.baselines import Fill
from tools.film.calibration import errors_of, predict
from tools.film.sheet import largest_fills
from tools.film.strength import SCREEN, WEAKEST
from tools.film.survey import Shot, write_maps
from tools.film.work import Work
from tools.synthesis.confidence import Confidence

LIMIT = 30.0  # levels: expected error of a shot's fills above which it is held back; the number is ours
HELD = "its fills are expected to be"  # begins the reason of a shot that is held back
LEAST = 0.5  # of its strength that a shot keeps


def hold_back(
    work: Work, shots: Sequence[Shot], confidence: Confidence, fill: Fill, device: torch.device
) -> tuple[list[Shot], Path]:
    """The shots with the strength that they get, and the depth that the conversion reads."""
    errors = expected_errors(work, shots, confidence, fill, device)
    found, shares = list(shots), {}
    for number, error in errors.items():
        shot = shots[number]
        share = max(LEAST, LIMIT / max(error, LIMIT), min(1.0, WEAKEST / shot.divergence))
        if share < 1:
            shares[number] = share
            why = f"{HELD} off by {error:.0f} of 255 levels ({shot.divergence} before: {shot.why})"
            found[number] = replace(shot, divergence=round(share * shot.divergence, 2), why=why)
    if not shares:
        return found, work.depth
    write_held(work, shots, shares)
    return found, work.held


def expected_errors(
    work: Work, shots: Sequence[Shot], confidence: Confidence, fill: Fill, device: torch.device
) -> dict[int, float]:
    """By shot the mean expected error of fills, in levels, in its record with the largest holes."""
    found = {}
    for number, (_, shard, entry) in largest_fills(work.splits, shots).items():
        try:
            record = decode(entry.key, read_record(shard, entry))
        except CorruptRecord:
            continue
        seen, _ = errors_of(record.frames, record.masks, fill, device)
        if len(seen):
            found[number] = float(predict(np.array(confidence.weights), seen).mean())
    return found


def write_held(work: Work, shots: Sequence[Shot], shares: Mapping[int, float]) -> None:
    """Write the depth with some shots at a share of their strength, unless it is there."""
    noted = {"shares": {str(number): share for number, share in shares.items()}}
    if work.read("held") == noted and (work.held / EXPORT).exists():
        return
    (work.folder / "held.json").unlink(missing_ok=True)  # first: it must not vouch for what is half deleted
    shutil.rmtree(work.held, ignore_errors=True)
    folder = work.held / "depth"
    folder.mkdir(parents=True)
    for number, shot in enumerate(shots):
        frames = [n for n in range(shot.first, shot.end) if (work.depth / "depth" / f"{n:08d}.png").exists()]
        paths = [work.depth / "depth" / f"{n:08d}.png" for n in frames]
        if number in shares:
            share = shares[number]
            write_maps(folder, frames, (SCREEN + share * (read_map(path) - SCREEN) for path in paths))
            continue
        for path in paths:
            try:
                os.link(path, folder / path.name)
            except OSError:  # a disk without links
                write_file(folder / path.name, read_small(path))
    write_file(work.held / EXPORT, read_small(work.depth / EXPORT))
    work.write("held", noted)
