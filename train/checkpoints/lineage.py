"""What a network was made of, as plain values: its file says so in `train_kwargs`, which iw3 ignores."""

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from model.checkpoint import locate
from pack.shards.index import Index
from tools.cli.files import file_sha256
from train.checkpoints.state import Position
from train.config import Config
from train.data.dataset import TrainingData

VERSION = 1
IDENTITY = ("video", "bytes", "sha256_of_ends")  # of a film, in an index
# of packing and of rendering
SETTINGS = ("prefix", "model_type", "divergence_level", "divergence", "shots", "warp", "textures", "degraded")


def sources_of(shards: Sequence[Index], sizes: Sequence[int]) -> list[dict[str, Any]]:
    """The films, or rendered scenes, that shards of these sizes were made of: identity, holes, number of records."""
    found: dict[str, dict[str, Any]] = {}
    for shard, records in zip(shards, sizes, strict=True):
        source = {name: shard.source[name] for name in IDENTITY if name in shard.source}
        source |= {name: shard.config[name] for name in SETTINGS if shard.config.get(name) not in (None, "", 0, "all")}
        if "divergence" in source:  # which the level then has no part in
            source.pop("divergence_level", None)
        one = found.setdefault(str(source), source | {"holes": holes_of(shard.config), "records": 0})
        one["records"] += records
    return list(found.values())


def holes_of(config: dict[str, Any]) -> dict[str, float]:
    """The shares of the kinds of holes that the settings of a shard give."""
    if "truth" in config:
        return config.get("warp") or {"forward": 1.0}
    pair = {"mlbw": 0.5, "forward": 0.5} if config.get("mask_model") else {"forward": 1.0}
    return config.get("holes") or pair


def lineage(config: Config, data: TrainingData, position: Position) -> dict[str, Any]:
    """What the present network was made of."""
    return {
        "version": VERSION,
        "dataset": data.description["fingerprint"],
        "sources": data.sources,
        "steps": position.step,
        "epoch": position.epoch,
        "seed": position.seed,
        "start": start_of(config.checkpoint_file) if config.checkpoint_file else None,
        "code": code_version(),
        "evaluation": dict(position.best_metrics),
    }


@cache
def start_of(checkpoint: str) -> dict[str, str] | None:
    """Name and sha256 of the file that training started from, None where it is gone."""
    path = locate(checkpoint)
    return {"name": path.name, "sha256": file_sha256(path)} if path.is_file() else None


@cache
def code_version() -> str:
    """The commit of this repository, with + where files differ from it; empty outside of git."""
    words = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
